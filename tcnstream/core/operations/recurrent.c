/* recurrent.c - recurrent layers of integers as the reference kernels have them (lstm_eval.cc, svdf.h): sums that stay
 * int16, one step of an LSTM, the filters of an SVDF. */
#include "gemmlowp16.h"
#include "operation.h"

TCN_RARELY static int check_sums(tcn_checker *c, const sums16_args *a, uint32_t input)
{
    REQUIRE(a->depth > 0 && a->outputs > 0 && a->depth == elements_of(input_of(c, input)), &a->depth, TCN_VALUE);
    REQUIRE(input_of(c, input)->dtype == TCN_I8, &c->node->dtype, TCN_VALUE);
    REQUIRE(holds(c, a->weights_at, (uint64_t)a->outputs * a->depth, 1), &a->weights_at, TCN_BOUNDS);
    REQUIRE(holds(c, a->bias_at, a->outputs, 4), &a->bias_at, TCN_BOUNDS);
    REQUIRE(holds(c, a->multiplier_at, a->outputs, 4), &a->multiplier_at, TCN_BOUNDS);
    REQUIRE(holds(c, a->shift_at, a->outputs, 4), &a->shift_at, TCN_BOUNDS);
    return tcn_check_shifts(c, a->shift_at, a->outputs, -31, 30);
}

TCN_RARELY static int check_sums16(tcn_checker *c)
{
    ARGUMENTS(sums16_args);
    REQUIRE(same_frame(c->window) && output_of(c)->dtype == TCN_I16, &c->window->up, TCN_VALUE);
    REQUIRE(a->outputs == elements_of(output_of(c)), &a->outputs, TCN_VALUE);
    return check_sums(c, a, 0);
}

TCN_RARELY static int check_lstm_step(tcn_checker *c)
{
    const tcn_frame *cell;
    ARGUMENTS(sums16_args);
    REQUIRE(same_frame(c->window) && c->node->n_inputs == 3 && c->node->n_outputs == 2, &c->node->n_inputs, TCN_VALUE);
    cell = input_of(c, 2);
    REQUIRE(a->gates == 3 || a->gates == 4, &a->gates, TCN_VALUE);
    REQUIRE((uint64_t)a->gates * elements_of(cell) == a->outputs && elements_of(input_of(c, 0)) == a->outputs, &a->gates, TCN_VALUE);
    REQUIRE(input_of(c, 0)->dtype == TCN_I16 && cell->dtype == TCN_I16 && frames_in(c, c->out[1])->dtype == TCN_I16, &c->node->dtype, TCN_VALUE);
    REQUIRE(output_of(c)->dtype == TCN_I8 && elements_of(output_of(c)) == elements_of(cell) &&
            elements_of(frames_in(c, c->out[1])) == elements_of(cell), &a->gates, TCN_VALUE);
    REQUIRE(a->cell_bits <= 6 && a->clip >= 0 && a->clip <= INT16_MAX && shift_ok(a->shift_out), &a->cell_bits, TCN_VALUE);
    return check_sums(c, a, 1);
}

TCN_RARELY static int check_svdf_filter(tcn_checker *c)
{
    const tcn_node_record *n = c->node;
    ARGUMENTS(svdf_filter_args);
    REQUIRE(c->window->up == 1 && c->window->stride == 1 && n->edge == EDGE_FILL, &c->window->up, TCN_VALUE);
    REQUIRE(n->dtype == TCN_I16 && output_of(c)->dtype == TCN_I8 && a->rank > 0, &a->rank, TCN_VALUE);
    REQUIRE((uint64_t)a->rank * elements_of(output_of(c)) == elements_of(input_of(c, 0)), &a->rank, TCN_VALUE);
    REQUIRE(holds(c, a->weights_at, (uint64_t)elements_of(input_of(c, 0)) * (uint32_t)c->window->extent, 2), &a->weights_at, TCN_BOUNDS);
    REQUIRE(holds(c, a->bias_at, elements_of(output_of(c)), 4) && shift_ok(a->shift), &a->bias_at, TCN_BOUNDS);
    return TCN_OK;
}

static int32_t saturated(int32_t x) { return clip32(x, INT16_MIN, INT16_MAX); }

/* What output `o` sums up, brought to int16's scale. */
static int32_t scaled_sum(const tcn_program *p, const sums16_args *a, const int8_t *x, uint32_t o)
{
    const int8_t *w = IN_PLAN(int8_t, a->weights_at) + (size_t)o * a->depth;
    int32_t sum = IN_PLAN(int32_t, a->bias_at)[o];
    uint32_t i;
    for (i = 0; i < a->depth; i++)
        sum = add32(sum, x[i] * w[i]);
    return multiply_twice(sum, IN_PLAN(int32_t, a->multiplier_at)[o], IN_PLAN(int32_t, a->shift_at)[o]);
}

static void sums16(const tcn_job *j, const void *from, void *to, uint32_t frames)
{
    const tcn_program *p = j->p;
    const tcn_node_record *node = j->node;
    const sums16_args *a = ARGS(sums16_args);
    uint32_t f, o;
    for (f = 0; f < frames; f++)
        for (o = 0; o < a->outputs; o++)
            ((int16_t *)to)[f * a->outputs + o] = (int16_t)saturated(scaled_sum(p, a, (const int8_t *)from + (size_t)f * a->depth, o));
}

static void run_sums16(const tcn_job *j) { tcn_each_run(j, sums16); }

/* Gates stand in the order entry (unless it is what the forget gate leaves), forget, fresh, output. */
static void lstm_frame(const tcn_program *p, const sums16_args *a, const int16_t *added, const int8_t *hidden, const int16_t *cell,
                       int8_t *out, int16_t *cell_out)
{
    uint32_t cells = a->outputs / a->gates, i, g;
    for (i = 0; i < cells; i++) {
        int32_t gate[4] = {0, 0, 0, 0}, forget, entered, kept, fresh;
        for (g = 0; g < a->gates; g++) {
            uint32_t o = g * cells + i;
            gate[4 - a->gates + g] = saturated(add32(scaled_sum(p, a, hidden, o), added[o]));
        }
        forget = logistic16(gate[1], 3);
        entered = a->gates == 4 ? logistic16(gate[0], 3) : 32767 - forget;
        kept = (int16_t)shift_right(forget * cell[i], 15);
        fresh = (int16_t)shift_right(entered * tanh16(gate[2], 3), (int)(15 + a->cell_bits));
        fresh = saturated(kept + fresh);
        if (a->clip)
            fresh = clip32(fresh, -a->clip, a->clip);
        cell_out[i] = (int16_t)fresh;
        out[i] = (int8_t)clip32(add32(multiply_twice(logistic16(gate[3], 3) * tanh16(fresh, (int)a->cell_bits), a->multiplier_out, a->shift_out),
                                      a->zero_out), -128, 127);
    }
}

static void lstm_step(const tcn_job *j)
{
    const tcn_program *p = j->p;
    const tcn_node_record *node = j->node;
    uint32_t l;
    int64_t f;
    for (l = 0; l < j->n_lanes; l++) {
        const tcn_lane_run *lane = &j->lanes[l];
        for (f = lane->begin[j->out[0]]; f < lane->end[j->out[0]]; f++)
            lstm_frame(p, ARGS(sums16_args), (const int16_t *)(const void *)frame_at(p, lane, j->in[0], f),
                       (const int8_t *)frame_at(p, lane, j->in[1], f), (const int16_t *)(const void *)frame_at(p, lane, j->in[2], f),
                       (int8_t *)output_frame_at(p, lane, j->out[0], f),
                       (int16_t *)(void *)output_frame_at(p, lane, j->out[1], f));
    }
}

static void svdf_filter(const tcn_job *j)
{
    const tcn_program *p = j->p;
    const tcn_node_record *node = j->node;
    const svdf_filter_args *a = ARGS(svdf_filter_args);
    uint32_t units = p->places[j->out[0]].bytes, filters = a->rank * units, l, u, i;
    int64_t f;
    int32_t k;
    for (l = 0; l < j->n_lanes; l++) {
        const tcn_lane_run *lane = &j->lanes[l];
        for (f = lane->begin[j->out[0]]; f < lane->end[j->out[0]]; f++) {
            int8_t *out = (int8_t *)output_frame_at(p, lane, j->out[0], f);
            for (u = 0; u < units; u++) {
                int32_t sum = IN_PLAN(int32_t, a->bias_at)[u];
                for (k = 0; k < j->window->extent; k++) {
                    const uint8_t *frame = padded_frame_at(p, lane, node, j->in[0], f - j->window->pad_begin + k);
                    const int16_t *x = (const int16_t *)(const void *)frame + (size_t)u * a->rank;
                    const int16_t *w = IN_PLAN(int16_t, a->weights_at) + (size_t)k * filters + (size_t)u * a->rank;
                    for (i = 0; i < a->rank; i++)
                        sum = add32(sum, x[i] * w[i]);
                }
                out[u] = (int8_t)clip32(add32(multiply_twice(sum, a->multiplier, a->shift), a->zero_out), -128, 127);
            }
        }
    }
}

const tcn_operation tcn_sums16 = {check_sums16, run_sums16, NULL};
const tcn_operation tcn_lstm_step = {check_lstm_step, lstm_step, NULL};
const tcn_operation tcn_svdf_filter = {check_svdf_filter, svdf_filter, NULL};
