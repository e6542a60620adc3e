/* kernels.h - the arithmetic of one instruction set: a table of functions, one per kernel shape.
 *
 * `rows` are pointers to the rows that output positions read: rows[p * taps + k] is the row of `channels`
 * elements for position p and tap k, wherever it stands (ring, scratch, padding). `outs[p]` is where
 * the outputs of position p go. */
#ifndef TCN_KERNELS_H
#define TCN_KERNELS_H

#include "../layout.h"

/* A convolution's outputs stand in panels of 16, then 8 or 4 for the rest; `panel_width` says which. */
static inline uint32_t panel_width(uint32_t rest) { return rest > 12 ? 16 : rest > 4 ? 8 : 4; }

static inline uint32_t panel_total(uint32_t outputs)
{
    uint32_t total = 0, done = 0;
    while (done < outputs) {
        uint32_t w = panel_width(outputs - done);
        done += w;
        total += w;
    }
    return total;
}

typedef void (*tcn_window_kernel)(const conv_args *a, const uint8_t *plan, const void *const *rows,
                                  void *const *outs, uint32_t positions);

/* The columns of `fours_args`, each of which has `outputs` entries. */
typedef struct {
    const int32_t *bias, *multiplier;
    const int8_t *shift;
} tcn_columns;

static inline uint32_t tcn_columns_bytes(uint32_t outputs) { return (9 * outputs + 15) & ~15u; }

static inline tcn_columns tcn_columns_of(const fours_args *a, const uint8_t *plan, uint32_t outputs)
{
    const int32_t *bias = (const int32_t *)(const void *)(plan + a->weights_at);
    return (tcn_columns){bias, bias + outputs, (const int8_t *)(bias + 2 * (size_t)outputs)};
}

/* Behind them. */
static inline const void *tcn_fours_weights(const fours_args *a, const uint8_t *plan, uint32_t outputs)
{
    return plan + a->weights_at + tcn_columns_bytes(outputs);
}

/* The same on CONV_FOURS; `window` has tcn_fours_window_bytes. */
typedef void (*tcn_fours_kernel)(const fours_args *a, const uint8_t *plan, const void *const *rows, void *const *outs,
                                 uint32_t positions, void *window);

/* What this build has besides plain C: base.c, dot.c and the x86 files. */
#if defined(__x86_64__) && defined(__GNUC__)
#define TCN_HAS_BASE
#elif defined(__aarch64__) && defined(__ARM_NEON) && defined(__GNUC__)
#define TCN_ARM_NEON
#define TCN_HAS_BASE
#if defined(__linux__) || defined(__ARM_FEATURE_DOTPROD)
#define TCN_ARM_DOT
#endif
#elif defined(__arm__) && defined(__ARM_NEON)
#define TCN_ARM_NEON
#define TCN_HAS_BASE
#elif defined(__arm__) && defined(__linux__) && defined(__ARM_PCS_VFP) && __ARM_ARCH >= 7 && !defined(__clang__)
/* Debian's and the wheels' armv7 is one without NEON: compiled in, chosen where the processor has it. */
#define TCN_ARM_NEON
#define TCN_ARM_NEON_CHOSEN
#define TCN_HAS_BASE
#elif defined(__ARM_ARCH_PROFILE) && __ARM_ARCH_PROFILE == 'M' && (defined(__ARM_FEATURE_DSP) || defined(__ARM_FEATURE_MVE))
#define TCN_ARM_M
#define TCN_HAS_BASE
#endif

/* Kernels for positions that slide along time are given frames, each once: tap k of position p reads
 * frames[p + k * dilation]. So many positions and, of int8, so many values, frames padded to whole fours, at most. */
#if (defined(__x86_64__) && defined(__GNUC__)) || defined(TCN_ARM_NEON)
#define TCN_HAS_SLIDING
#define TCN_NO_SLIDING , NULL, NULL, NULL
enum { TCN_SLIDING_POSITIONS = 64, TCN_SLIDING_VALUES = 8192 - 16 };
#else
#define TCN_NO_SLIDING
#endif

typedef struct {
    int isa;
    tcn_window_kernel conv_f32, conv_i8, conv_i16;
    tcn_window_kernel depthwise_f32, depthwise_i8, depthwise_i16;
    /* n elements */
    void (*binary_f32)(const binary_float_args *a, int op, const float *x, const float *y, float *out, uint32_t n);
    void (*binary_i8)(const binary_args *a, int op, const int8_t *x, const int8_t *y, int8_t *out, uint32_t n);
    void (*binary_i16)(const binary_args *a, int op, const int16_t *x, const int16_t *y, int16_t *out, uint32_t n);
    void (*unary_f32)(const unary_args *a, int op, const float *x, float *out, uint32_t n);
    tcn_fours_kernel conv_i8_fours, depthwise_i8_fours, conv_i16_fours; /* NULL but for the family of processors that has them */
#ifdef TCN_HAS_SLIDING
    tcn_window_kernel conv_f32_sliding, conv_i8_sliding, depthwise_f32_sliding; /* or NULL */
#endif
} tcn_kernels;

/* winograd.h */
typedef struct tcn_winograd_conv tcn_winograd_conv;
typedef struct tcn_winograd_pair tcn_winograd_pair;
typedef struct tcn_winograd_alone tcn_winograd_alone;
typedef struct tcn_winograd_kernels tcn_winograd_kernels;

/* In the place of some of a table's kernels, for who takes float32 sums that are rounded once per product, not twice:
 * they are not the reference kernels' bits. */
typedef struct {
    tcn_window_kernel conv_f32, depthwise_f32;
#ifdef TCN_HAS_SLIDING
    tcn_window_kernel conv_f32_sliding, depthwise_f32_sliding;
#endif
    const tcn_winograd_kernels *winograd; /* or NULL */
} tcn_fused_kernels;

/* What a build for some plans alone (TCN_ONLY) does not need is left to the linker to drop. */
#ifdef TCN_ONLY
#define TCN_NEEDED(name) TCN_NEEDS_##name
#define TCN_KERNEL(name, function) (TCN_NEEDS_##name ? (function) : NULL)
#else
#define TCN_NEEDED(name) 1
#define TCN_KERNEL(name, function) (function)
#endif

/* Where the registers of a loop are worth a call of its own. */
#ifdef __GNUC__
#define TCN_APART __attribute__((noinline))
#else
#define TCN_APART
#endif

/* A frame of the stack of its own where the stack is small, as what is never live at once would stand in one frame side by
 * side; elsewhere the compiler decides. */
#if defined(__ARM_ARCH_PROFILE) && __ARM_ARCH_PROFILE == 'M'
#define TCN_OWN_FRAME TCN_APART
#else
#define TCN_OWN_FRAME
#endif

/* Plain C: what the others are measured against, and what they use for shapes for which they have nothing */
#define TCN_PLAIN_WINDOW(name) \
    void name(const conv_args *a, const uint8_t *plan, const void *const *rows, void *const *outs, uint32_t positions)
TCN_PLAIN_WINDOW(tcn_plain_conv_f32);
TCN_PLAIN_WINDOW(tcn_plain_conv_i8);
TCN_PLAIN_WINDOW(tcn_plain_conv_i16);
TCN_PLAIN_WINDOW(tcn_plain_depthwise_f32);
TCN_PLAIN_WINDOW(tcn_plain_depthwise_i8);
TCN_PLAIN_WINDOW(tcn_plain_depthwise_i16);
void tcn_plain_binary_f32(const binary_float_args *a, int op, const float *x, const float *y, float *out, uint32_t n);
void tcn_plain_binary_i8(const binary_args *a, int op, const int8_t *x, const int8_t *y, int8_t *out, uint32_t n);
void tcn_plain_binary_i16(const binary_args *a, int op, const int16_t *x, const int16_t *y, int16_t *out, uint32_t n);
void tcn_plain_unary_f32(const unary_args *a, int op, const float *x, float *out, uint32_t n);

/* A microcontroller has no room for kernels that nothing there asks for. */
#ifndef TCN_ARM_M
#define TCN_HAS_PLAIN
#endif
#if !defined(TCN_ARM_M) || !defined(__ARM_FP) || !(__ARM_FP & 4)
#define TCN_HAS_PLAIN_CONV_F32
#endif

/* The family of processors whose packed plans this build runs. */
#if defined(TCN_ARM_M) && defined(__ARM_FEATURE_MVE)
#define TCN_FAMILY_HERE FAMILY_HELIUM
#elif defined(TCN_ARM_M)
#define TCN_FAMILY_HERE FAMILY_DSP
#else
#define TCN_FAMILY_HERE FAMILY_PORTABLE
#endif

/* What a window of values of `item` bytes takes once it is gathered: as it is, or of two positions with 16 bits a value. */
static inline uint64_t tcn_fours_window_bytes(const fours_args *a, uint32_t item)
{
    uint64_t values = (uint64_t)a->taps * a->channels;
    return TCN_FAMILY_HERE == FAMILY_DSP ? (values + 3) / 4 * 16 : (values * item + 15) / 16 * 16;
}

extern const tcn_kernels tcn_kernels_plain;
extern const tcn_kernels tcn_kernels_base;
extern const tcn_kernels tcn_kernels_avx2;
extern const tcn_kernels tcn_kernels_avx512;
extern const tcn_kernels tcn_kernels_vnni;
extern const tcn_kernels tcn_kernels_dot;

#if (defined(__x86_64__) && defined(__GNUC__)) || (defined(TCN_ARM_NEON) && defined(__aarch64__))
#define TCN_HAS_FUSED
#endif
#if defined(__x86_64__) && defined(__GNUC__)
#define TCN_HAS_SETTLED /* kernels that take the arguments of settled.h */
#endif
extern const tcn_fused_kernels tcn_fused_avx2;
extern const tcn_fused_kernels tcn_fused_avx512;
extern const tcn_fused_kernels tcn_fused_neon;

#endif
