/* float_binary.h - sums, differences and products of float32, for float.h. */

#define BINARY(expression_v, expression)                                          \
    for (i = 0; i + LANES <= n; i += LANES) {                                     \
        vmax p = *(const vmax *)(x + i), q = *(const vmax *)(y + i);              \
        *(vmax *)(out + i) = CLIP_vmax(expression_v, a->low_f, a->high_f);        \
    }                                                                             \
    for (; i < n; i++) {                                                          \
        float p = x[i], q = y[i];                                                 \
        out[i] = clip_one(expression, a->low_f, a->high_f);                       \
    }

static void binary_f32(const binary_float_args *a, int op, const float *x, const float *y, float *out, uint32_t n)
{
    uint32_t i;
    switch (op) {
    case BINARY_ADD:
        BINARY(VECTOR_ADD(p, q), p + q)
        break;
    case BINARY_SUB:
        BINARY(VECTOR_SUB(p, q), p - q)
        break;
    case BINARY_MUL:
        BINARY(VECTOR_MUL(p, q), p * q)
        break;
    default:
        tcn_plain_binary_f32(a, op, x, y, out, n);
    }
}
