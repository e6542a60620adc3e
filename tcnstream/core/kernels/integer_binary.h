/* integer_binary.h - sums, differences and products of int8, for integer.h. */

TCN_APART static void binary_i8(const binary_args *a, int op, const int8_t *x, const int8_t *y, int8_t *out, uint32_t n)
{
    uint32_t i = 0;
    if (op == BINARY_ADD || op == BINARY_SUB || op == BINARY_MUL) {
        numbers zero_x = same(a->zero[0]), zero_y = same(a->zero[1]), zero = same(a->zero_out);
        scaling by_x = scaling_of(same(a->multiplier[0]), same(a->shift[0]));
        scaling by_y = scaling_of(same(a->multiplier[1]), same(a->shift[1]));
        scaling by = scaling_of(same(a->multiplier_out), same(a->shift_out));
        numbers low = same(a->low), high = same(a->high);
        int clip = a->low > -128 || a->high < 127;
        for (; i + NUMBERS <= n; i += NUMBERS) {
            numbers p = minus(widened(x + i), zero_x), q = minus(widened(y + i), zero_y), r;
            if (op == BINARY_MUL) {
                r = product(p, q);
            } else {
                p = rescaled(shifted_left(p, a->left_shift), by_x);
                q = rescaled(shifted_left(q, a->left_shift), by_y);
                r = op == BINARY_ADD ? added(p, q) : minus(p, q);
            }
            r = added(rescaled(r, by), zero);
            narrowed(out + i, clip ? clipped(r, low, high) : r);
        }
    }
    if (i < n)
        tcn_plain_binary_i8(a, op, x + i, y + i, out + i, n - i);
}
