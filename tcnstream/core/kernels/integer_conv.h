/* integer_conv.h - convolutions of int8 and int16, for integer.h: panels of the widths that plans have, rescaled. */

#ifdef INT8_PREFIXES
#define INT8_PANELS_OF(P16, P8, P4)                                                                             \
    PANEL_OF(int8_panel_16, P16, int8, 16, INT8_AT_ONCE_16, INT8_TILE_16, finish_int8)                  \
    PANEL_OF(int8_panel_8, P8, int8, 8, INT8_AT_ONCE_8, INT8_TILE_8, finish_int8)                       \
    PANEL_OF(int8_panel_4, P4, int8, 4, 1, INT8_TILE_4, finish_int8)
#define INT8_PANELS(...) INT8_PANELS_OF(__VA_ARGS__)
#ifdef INT8_TILE_32
#define INT8_TWO_PANELS_OF(P16, P8, P4) TWO_PANELS_OF(int8_panels_32, P16, int8, INT8_TILE_32, finish_int8)
#define INT8_TWO_PANELS(...) INT8_TWO_PANELS_OF(__VA_ARGS__)
INT8_TWO_PANELS(INT8_PREFIXES)
#endif
INT8_PANELS(INT8_PREFIXES)
CONV_OF(conv_i8, BOTH_PANELS(int8_panels_32), int8_panel_16, int8_panel_8, int8_panel_4)
#endif

PANEL_OF(int16_panel_16, int16, int16, 16, INT16_AT_ONCE_16, INT16_TILE, finish_int16)
PANEL_OF(int16_panel_8, int16, int16, 8, INT16_AT_ONCE_8, INT16_TILE, finish_int16)
PANEL_OF(int16_panel_4, int16, int16, 4, 1, INT16_TILE, finish_int16)
CONV_OF(conv_i16_short, , int16_panel_16, int16_panel_8, int16_panel_4)

/* Up to so many products of 15 and 7 bits fit 32 bits. */
enum { MOST_INT16_PRODUCTS = 511 };

static void conv_i16(const conv_args *a, const uint8_t *plan, const void *const *rows, void *const *outs,
                     uint32_t positions)
{
    if ((uint64_t)a->taps_t * a->taps_f * (a->channels / a->groups) > MOST_INT16_PRODUCTS)
        tcn_plain_conv_i16(a, plan, rows, outs, positions);
    else
        conv_i16_short(a, plan, rows, outs, positions);
}
