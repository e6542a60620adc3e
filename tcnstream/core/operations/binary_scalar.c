/* binary_scalar.c - two operands, element by element, where there is nothing for vectors: comparisons, logic, PRELU, integers
 * without a scale. BINARY has the rest. */
#include "gemmlowp.h"
#include "operands.h"

static int compares(uint32_t op) { return op >= BINARY_EQUAL && op <= BINARY_LOGICAL_OR; }

TCN_RARELY static int check_binary_scalar(tcn_checker *c)
{
    const tcn_node_record *n = c->node;
    uint8_t dtypes[2] = {n->dtype, n->dtype};
    uint32_t q;
    ARGUMENTS(binary_scalar_args);
    REQUIRE(same_frame(c->window), &c->window->up, TCN_VALUE);
    REQUIRE(n->op <= BINARY_SUB_SHIFTED, &n->op, TCN_VALUE);
    REQUIRE(n->dtype != TCN_F32 || n->op == BINARY_PRELU || (n->op >= BINARY_EQUAL && n->op <= BINARY_GREATER_EQUAL), &n->op, TCN_VALUE);
    REQUIRE(output_of(c)->dtype == (compares(n->op) ? TCN_BOOL : n->dtype), &n->dtype, TCN_VALUE);
    REQUIRE(a->elements == elements_of(output_of(c)), &a->elements, TCN_VALUE);
    REQUIRE(a->left_shift >= 0 && a->left_shift <= 20 && shift_ok(a->shift_out), &a->left_shift, TCN_VALUE);
    for (q = 0; q < 2; q++)
        REQUIRE(n->op < BINARY_ADD_SHIFTED ? shift_ok(a->shift[q]) : a->shift[q] >= 0 && a->shift[q] <= 31, &a->shift[q], TCN_VALUE);
    return tcn_check_operands(c, a->constant_at, a->index_at, dtypes, 2, a->elements);
}

static int64_t divided(int64_t x, int64_t y)
{
    return y == 0 ? 0 : y == -1 ? (int64_t)(0 - (uint64_t)x) : x / y;
}

/* integers without a scale: as C computes them, in the type's own width */
static int64_t plain(const binary_scalar_args *a, int op, uint32_t dtype, int64_t x, int64_t y)
{
    uint64_t u = (uint64_t)x, v = (uint64_t)y;
    switch (op) {
    case BINARY_ADD:
        x = (int64_t)(u + v);
        break;
    case BINARY_SUB:
        x = (int64_t)(u - v);
        break;
    case BINARY_MUL:
        x = (int64_t)(u * v);
        break;
    case BINARY_DIV:
        x = divided(x, y);
        break;
    case BINARY_MAXIMUM:
        return x > y ? x : y;
    case BINARY_MINIMUM:
        return x < y ? x : y;
    default:
        x = (int64_t)((u - v) * (u - v));
    }
    x = tcn_wrapped(x, dtype);
    if (a->low != INT32_MIN && x < a->low)
        x = a->low;
    return a->high != INT32_MAX && x > a->high ? a->high : x;
}

/* None of the three is true of a NaN. */
static int is_true(int op, int less, int equal, int greater)
{
    switch (op) {
    case BINARY_EQUAL:
        return equal;
    case BINARY_NOT_EQUAL:
        return !equal;
    case BINARY_LESS:
        return less;
    case BINARY_LESS_EQUAL:
        return less || equal;
    case BINARY_GREATER:
        return greater;
    default:
        return greater || equal;
    }
}

static int compared(int op, int64_t x, int64_t y)
{
    if (op == BINARY_LOGICAL_AND)
        return x && y;
    return op == BINARY_LOGICAL_OR ? x || y : is_true(op, x < y, x == y, x > y);
}

/* div.h: a divisor that stands for zero is as good as one step */
static int32_t quotient(const binary_scalar_args *a, int32_t x, int32_t y)
{
    int32_t inverse, scaled;
    int headroom, bits, places;
    x = y < 0 ? sub32(0, x) : x;
    y = y < 0 ? sub32(0, y) : y;
    y = y < 1 ? 1 : y;
    inverse = reciprocal(y, 31, &bits);
    headroom = leading_zeros((uint32_t)(x < 0 ? ~x : x)) - 1;
    scaled = high_mul(high_mul(left32(x, headroom), inverse), a->multiplier_out);
    places = bits + headroom - a->shift_out;
    /* beyond 31 the reference kernel leaves C's rules: processors shift by the low five bits */
    if (places > 31)
        return add32(scaled >> (places & 31), scaled >= 0);
    return places < 0 ? left32(scaled, -places) : shift_right(scaled, places);
}

/* What has a scale. */
static int32_t scaled(const binary_scalar_args *a, int op, int32_t x, int32_t y)
{
    int32_t r;
    if (op >= BINARY_ADD_SHIFTED) { /* scales that are powers of two: one operand is shifted */
        x = shift_right(x, a->shift[0]);
        y = shift_right(y, a->shift[1]);
        return clip32(op == BINARY_ADD_SHIFTED ? x + y : x - y, a->low, a->high);
    }
    x = sub32(x, a->zero[0]);
    y = sub32(y, a->zero[1]);
    if (op == BINARY_DIV)
        r = quotient(a, x, y);
    else if (x >= 0)
        r = multiply_twice(x, a->multiplier[0], a->shift[0]);
    else
        r = multiply_twice(mul32(x, y), a->multiplier_out, a->shift_out);
    return clip32(add32(r, a->zero_out), a->low, a->high);
}

static int32_t on_one_scale(const binary_scalar_args *a, int64_t x, int operand)
{
    int32_t shifted = left32(sub32((int32_t)x, a->zero[operand]), a->left_shift);
    return multiply_twice(shifted, a->multiplier[operand], a->shift[operand]);
}

static int64_t binary_of_integers(const binary_scalar_args *a, int op, uint32_t dtype, int64_t x, int64_t y)
{
    if (compares((uint32_t)op))
        return a->left_shift ? compared(op, on_one_scale(a, x, 0), on_one_scale(a, y, 1)) : compared(op, x, y);
    if (op >= BINARY_PRELU || a->multiplier_out)
        return scaled(a, op, (int32_t)x, (int32_t)y);
    return plain(a, op, dtype, x, y);
}

static void prelu_f32(const float *x, const float *slope, float *to, uint32_t n)
{
    uint32_t i;
    for (i = 0; i < n; i++)
        to[i] = x[i] >= 0.0f ? x[i] : x[i] * slope[i];
}

static void binary_scalar_frame(const tcn_job *j, const tcn_operand *o, uint8_t *to)
{
    const tcn_program *p = j->p;
    const tcn_node_record *node = j->node;
    const binary_scalar_args *a = ARGS(binary_scalar_args);
    uint32_t out = frame_of(p, j->out[0])->dtype, i;
    if (node->dtype == TCN_F32 && node->op == BINARY_PRELU && !o[0].index && !o[1].index) {
        prelu_f32((const float *)(const void *)o[0].from, (const float *)(const void *)o[1].from, (float *)(void *)to, a->elements);
        return;
    }
    for (i = 0; i < a->elements; i++) {
        uint32_t q = place_of(&o[0], i), r = place_of(&o[1], i);
        if (node->dtype == TCN_F32) {
            float x = ((const float *)(const void *)o[0].from)[q], y = ((const float *)(const void *)o[1].from)[r];
            if (node->op == BINARY_PRELU)
                ((float *)(void *)to)[i] = x >= 0.0f ? x : x * y;
            else
                to[i] = (uint8_t)is_true(node->op, x < y, x == y, x > y);
        } else {
            int64_t x = tcn_integer_at(o[0].from, node->dtype, q), y = tcn_integer_at(o[1].from, node->dtype, r);
            tcn_store_integer(to, out, i, binary_of_integers(a, node->op, node->dtype, x, y));
        }
    }
}

static void binary_scalar(const tcn_job *j)
{
    const tcn_program *p = j->p;
    const tcn_node_record *node = j->node;
    const binary_scalar_args *a = ARGS(binary_scalar_args);
    tcn_operand operands[2];
    uint32_t l;
    int64_t f;
    for (l = 0; l < j->n_lanes; l++)
        for (f = j->lanes[l].begin[j->out[0]]; f < j->lanes[l].end[j->out[0]]; f++) {
            tcn_find_operands(j, &j->lanes[l], f, a->constant_at, a->index_at, 2, operands);
            binary_scalar_frame(j, operands, output_frame_at(p, &j->lanes[l], j->out[0], f));
        }
}

const tcn_operation tcn_binary_scalar = {check_binary_scalar, binary_scalar, NULL};
