/* avx2_settle.h - finds scales and offsets of settled.h and proves each by running the very arithmetic that uses it. */

enum { MOST_STEPS = 256, SETTLED_LIMIT = 1 << 30 };

/* Where an output steps: at[i] is the least accumulator whose output is first + i or more. The last is repeated to a
 * multiple of eight. */
typedef struct {
    int32_t at[MOST_STEPS], first, zero, low, high;
    uint32_t n;
    short_scaling by;
} output_steps;

INLINE __m256i outputs_from(const output_steps *s, uint32_t i)
{
    const __m256i y = _mm256_add_epi32(same(s->first + (int32_t)i), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    return _mm256_min_epi32(y, same(s->high));
}

/* Whether all steps are found, by the reference kernels' arithmetic. */
static int find_steps(output_steps *s, int32_t multiplier, int32_t shift)
{
    const double apart = (double)((int64_t)1 << (31 - shift)) / multiplier; /* from step to step */
    uint32_t i, turn;
    for (i = 0; i < s->n; i++) {
        const double near = (s->first + (int32_t)i - s->zero - 0.5) * apart;
        if (near > SETTLED_LIMIT - 16 || near < 16 - SETTLED_LIMIT)
            return 0;
        s->at[i] = (int32_t)near;
    }
    for (; i % 8; i++)
        s->at[i] = s->at[i - 1];
    for (i = 0; i < s->n; i += 8) {
        __m256i x = loaded(s->at + i);
        const __m256i y = outputs_from(s, i), one = same(1);
        for (turn = 0;; turn++) {
            const __m256i is_below = _mm256_cmpgt_epi32(y, short_rescaled(x, s->by));
            const __m256i is_behind = _mm256_cmpgt_epi32(y, short_rescaled(_mm256_sub_epi32(x, one), s->by));
            if (_mm256_testz_si256(is_below, is_below) && _mm256_movemask_epi8(is_behind) == -1)
                break;
            if (turn == 8)
                return 0;
            x = _mm256_sub_epi32(x, is_below);
            x = _mm256_sub_epi32(x, _mm256_andnot_si256(is_behind, one));
        }
        _mm256_storeu_si256((__m256i *)(void *)(s->at + i), x);
    }
    return 1;
}

/* One output's entries of the columns. */
typedef struct {
    float scale, over, under;
    int32_t late;
} settled_output;

/* Both arithmetics agree at eight accumulators. */
static int agree(const output_steps *s, const settled_scaling *by, __m256i x)
{
    const __m256i low = same(s->low), high = same(s->high);
    const __m256i differ = _mm256_xor_si256(clipped(settled(x, by), low, high), clipped(short_rescaled(x, s->by), low, high));
    return _mm256_testz_si256(differ, differ);
}

/* Where they agree on both sides of each step, around zero and around the late one, they do so everywhere between. */
static int is_proven(const output_steps *s, settled_output o)
{
    const settled_scaling by = {_mm256_set1_ps(o.scale), _mm256_set1_ps(o.over), _mm256_set1_ps(o.under), same(o.late), o.late != INT32_MIN};
    const int32_t around[8] = {-1, 0, 1, 0, 0, 0, 0, 0};
    uint32_t i;
    if (!agree(s, &by, loaded(around)))
        return 0;
    if (by.is_any_late && !agree(s, &by, _mm256_add_epi32(same(o.late), loaded(around))))
        return 0;
    for (i = 0; i < s->n; i += 8)
        if (!agree(s, &by, loaded(s->at + i)) || !agree(s, &by, _mm256_sub_epi32(loaded(s->at + i), same(1))))
            return 0;
    return 1;
}

/* How many steps from `from` to `to` come late by this scale and offset, *late if it is one; -1 where one comes early. */
static int count_late(const output_steps *s, uint32_t from, uint32_t to, float scale, float offset, int32_t *late)
{
    const settled_scaling by = {_mm256_set1_ps(scale), _mm256_set1_ps(offset), _mm256_set1_ps(offset), same(INT32_MIN), 0};
    const __m256i begin = same((int32_t)from), end = same((int32_t)to);
    uint32_t i;
    int n = 0;
    for (i = from & ~7u; i < to; i += 8) {
        const __m256i number = _mm256_add_epi32(same((int32_t)i), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
        const __m256i counts = _mm256_andnot_si256(_mm256_cmpgt_epi32(begin, number), _mm256_cmpgt_epi32(end, number));
        const __m256i x = loaded(s->at + i), y = outputs_from(s, i);
        const __m256i is_early = _mm256_andnot_si256(_mm256_cmpgt_epi32(y, settled(_mm256_sub_epi32(x, same(1)), &by)), counts);
        const int lates = _mm256_movemask_ps(_mm256_castsi256_ps(_mm256_and_si256(_mm256_cmpgt_epi32(y, settled(x, &by)), counts)));
        if (!_mm256_testz_si256(is_early, is_early))
            return -1;
        if (lates) {
            n += lates & (lates - 1) ? 2 : 1;
            *late = s->at[i + (uint32_t)__builtin_ctz((unsigned)lates)];
        }
    }
    return n;
}

/* The float32 `places` above x, or below it; not across zero. */
static float next_float(float x, int places)
{
    int32_t bits;
    memcpy(&bits, &x, 4);
    bits += bits < 0 ? -places : places;
    memcpy(&x, &bits, 4);
    return x;
}

/* An offset for the steps from `from` to `to` with the fewest late ones; how many, more than one if it is of no use. */
static int best_offset(const output_steps *s, uint32_t from, uint32_t to, float scale, float *offset, int32_t *late)
{
    enum { TRIES = 6 };
    double least = -1e30, most = 1e30;
    int best = 2, k;
    uint32_t i;
    if (from >= to)
        return 0;
    for (i = from; i < to; i++) {
        const double edge = (s->first + (int32_t)i - 0.5) - (double)scale * s->at[i];
        least = edge > least ? edge : least;
        most = edge < most ? edge : most;
    }
    most += scale;
    for (k = 0; k < TRIES && best; k++) {
        const float tried = k == 0 ? (float)(0.5 * (least + most)) : next_float((float)most, 1 - k);
        int32_t where = INT32_MIN;
        const int n = count_late(s, from, to, scale, tried, &where);
        if (n >= 0 && n < best) {
            best = n;
            *offset = tried;
            *late = where;
        }
    }
    return best;
}

static settled_output settle_output(int32_t multiplier, int32_t shift, int32_t zero, int32_t low, int32_t high)
{
    static const settled_output unsettled = {-1.0f, 0.0f, 0.0f, INT32_MIN};
    settled_output found = unsettled;
    output_steps s;
    uint32_t middle;
    int k;
    if (multiplier == 0)
        return (settled_output){0.0f, (float)zero, (float)zero, INT32_MIN};
    if (multiplier < 0 || low < -128 || high > 127 || low >= high || zero < -128 || zero > 127 ||
        !short_scaling_of(&s.by, same(multiplier), same(shift), zero))
        return unsettled;
    s.first = low + 1;
    s.n = (uint32_t)(high - low);
    s.zero = zero;
    s.low = low;
    s.high = high;
    if (!find_steps(&s, multiplier, shift))
        return unsettled;
    middle = zero < low ? 0 : (uint32_t)(zero - low);
    middle = middle < s.n ? middle : s.n; /* the first step above zero */
    for (k = 0; k < 13; k++) {
        settled_output o = unsettled;
        int32_t late_over = INT32_MIN, late_under = INT32_MIN;
        int n, m;
        o.scale = next_float((float)(multiplier / (double)((int64_t)1 << (31 - shift))), k % 2 ? (k + 1) / 2 : -k / 2);
        n = best_offset(&s, middle, s.n, o.scale, &o.over, &late_over);
        if (n > 1)
            continue;
        m = best_offset(&s, 0, middle, o.scale, &o.under, &late_under);
        if (n + m > 1 || (n + m && found.scale >= 0))
            continue;
        if (middle == 0)
            o.under = o.over;
        if (middle == s.n)
            o.over = o.under;
        o.late = n ? late_over : m ? late_under : INT32_MIN;
        if (is_proven(&s, o))
            found = o;
        if (found.scale >= 0 && found.late == INT32_MIN)
            break;
    }
    return found;
}

/* Weights of panels of sixteen outputs, in the order in which the sums of two vectors are packed to bytes. */
static void pair_weights(tcn_settled_conv *c, const uint8_t *plan)
{
    static const uint8_t order[16] = {0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 6, 7, 12, 13, 14, 15};
    const conv_args *a = &c->args;
    const size_t fours = (size_t)a->taps_t * a->taps_f * ((a->channels / a->groups + 3) / 4);
    const int8_t *w = (const int8_t *)(plan + a->weights_at);
    int16_t *to = c->pairs;
    uint32_t g, begin, width;
    size_t k, i, q;
    for (g = 0; g < a->groups; g++)
        for (begin = 0; begin < a->outputs / a->groups; begin += width) {
            width = panel_width(a->outputs / a->groups - begin);
            for (k = 0; width == 16 && k < fours; k++)
                for (i = 0; i < 16; i++)
                    for (q = 0; q < 4; q++)
                        to[64 * k + 32 * (q / 2) + 2 * i + q % 2] = w[64 * k + 4 * order[i] + q];
            w += 4 * fours * width;
            to += 4 * fours * width;
        }
}

static void settle_conv(tcn_settled_conv *c, const uint8_t *plan, uint32_t outputs)
{
    const int32_t *multiplier = WORDS(plan, c->args.multiplier_at), *shift = WORDS(plan, c->args.shift_at);
    settled_output o = {0};
    uint32_t i;
    for (i = 0; i < outputs; i++) {
        if (i == 0 || multiplier[i] != multiplier[i - 1] || shift[i] != shift[i - 1])
            o = settle_output(multiplier[i], shift[i], c->args.zero_out, c->args.low, c->args.high);
        c->scale[i] = o.scale;
        c->over[i] = o.over;
        c->under[i] = o.under;
        c->late[i] = o.late;
    }
    if (c->pairs)
        pair_weights(c, plan);
}

/* All answers to an x are those of the reference kernels. */
static int binary_agrees(const tcn_settled_binary *b, int op, int x)
{
    int8_t same_x[256], y[256], expected[256], answer[256];
    int k;
    for (k = 0; k < 256; k++) {
        same_x[k] = (int8_t)x;
        y[k] = (int8_t)(k - 128);
    }
    binary_i8(b->exact, op, same_x, y, expected, 256);
    binary_settled(b, same_x, y, answer, 256);
    return memcmp(expected, answer, 256) == 0;
}

static double scale_of(int32_t multiplier, int32_t shift)
{
    return shift > 31 || shift < -31 ? 0 : shift < 0 ? multiplier / (double)((int64_t)1 << (31 - shift)) : multiplier * (double)((int64_t)1 << shift) / 2147483648.0;
}

static int settle_binary(tcn_settled_binary *b, int op)
{
    enum { TRIES = 45 };
    const binary_args *a = b->exact;
    const double out = scale_of(a->multiplier_out, a->shift_out) * (double)((int64_t)1 << a->left_shift);
    const double by_x = scale_of(a->multiplier[0], a->shift[0]) * out;
    const double by_y = (op == BINARY_SUB ? -1 : 1) * scale_of(a->multiplier[1], a->shift[1]) * out;
    static const int8_t nudges[5] = {0, 1, -1, 2, -2};
    int k, x;
    if ((op != BINARY_ADD && op != BINARY_SUB) || a->low < -128 || a->high > 127)
        return 0;
    for (k = 0; k < TRIES; k++) {
        b->scale[0] = next_float((float)by_x, nudges[k / 5 % 3]);
        b->scale[1] = next_float((float)by_y, nudges[k / 15]);
        b->offset = next_float((float)(a->zero_out - by_x * a->zero[0] - by_y * a->zero[1]), nudges[k % 5]);
        for (x = -128; x < 128 && binary_agrees(b, op, x); x++) {
        }
        if (x == 128)
            return 1;
    }
    return 0;
}

const tcn_settlers tcn_settlers_avx2 = {settle_conv, settle_binary, 1};
const tcn_settlers tcn_settlers_avx512 = {settle_conv, settle_binary, 0};
