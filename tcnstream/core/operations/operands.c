/* operands.c - operands of several operations: their check, their places, their elements. */
#include "operands.h"

TCN_RARELY int tcn_check_operands(tcn_checker *c, const uint32_t *constant_at, const uint32_t *index_at, const uint8_t *dtype,
                       uint32_t count, uint32_t elements)
{
    uint32_t streams = 0, q, i;
    for (q = 0; q < count; q++) {
        uint32_t there = elements;
        const uint32_t *index = (const uint32_t *)(const void *)(c->plan + index_at[q]);
        if (constant_at[q]) {
            REQUIRE(holds(c, constant_at[q], elements, element_bytes(dtype[q])), &constant_at[q], TCN_BOUNDS);
        } else {
            REQUIRE(streams < c->node->n_inputs && input_of(c, streams)->dtype == dtype[q], &constant_at[q], TCN_VALUE);
            there = elements_of(input_of(c, streams++));
        }
        if (index_at[q])
            REQUIRE(!constant_at[q] && holds(c, index_at[q], elements, 4), &index_at[q], TCN_BOUNDS);
        else
            REQUIRE(there == elements, &constant_at[q], TCN_VALUE);
        for (i = 0; index_at[q] && i < elements; i++)
            REQUIRE(index[i] < there, index + i, TCN_BOUNDS);
    }
    /* an operand too many would stand where another is read */
    REQUIRE(streams == c->node->n_inputs, &c->node->n_inputs, TCN_VALUE);
    return TCN_OK;
}

void tcn_find_operands(const tcn_job *j, const tcn_lane_run *lane, int64_t f, const uint32_t *constant_at,
                       const uint32_t *index_at, uint32_t count, tcn_operand *made)
{
    const tcn_program *p = j->p;
    const uint16_t *in = j->in;
    uint32_t q;
    for (q = 0; q < count; q++) {
        made[q].from = constant_at[q] ? p->plan + constant_at[q] : frame_at(p, lane, *in++, f);
        made[q].index = index_at[q] ? IN_PLAN(uint32_t, index_at[q]) : NULL;
    }
}

int64_t tcn_integer_at(const void *from, uint32_t dtype, uint32_t i)
{
    int64_t wide;
    switch (dtype) {
    case TCN_I8:
        return ((const int8_t *)from)[i];
    case TCN_I16:
        return ((const int16_t *)from)[i];
    case TCN_I32:
        return ((const int32_t *)from)[i];
    case TCN_I64:
        memcpy(&wide, (const uint8_t *)from + (size_t)i * 8, 8);
        return wide;
    default:
        return ((const uint8_t *)from)[i] != 0;
    }
}

int64_t tcn_wrapped(int64_t value, uint32_t dtype)
{
    return dtype == TCN_I8 ? (int8_t)value : dtype == TCN_I16 ? (int16_t)value : dtype == TCN_I32 ? (int32_t)value
           : dtype == TCN_I64 ? value : value != 0;
}

void tcn_store_integer(void *to, uint32_t dtype, uint32_t i, int64_t value)
{
    switch (dtype) {
    case TCN_I8:
        ((int8_t *)to)[i] = (int8_t)value;
        break;
    case TCN_I16:
        ((int16_t *)to)[i] = (int16_t)value;
        break;
    case TCN_I32:
        ((int32_t *)to)[i] = (int32_t)value;
        break;
    case TCN_I64:
        memcpy((uint8_t *)to + (size_t)i * 8, &value, 8);
        break;
    default:
        ((uint8_t *)to)[i] = value != 0;
    }
}
