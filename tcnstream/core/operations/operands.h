/* operands.h - what operations on several operands share: where each stands, spread over the frame or constant, and
 * the value of an element of any integer type. */
#ifndef TCN_OPERANDS_H
#define TCN_OPERANDS_H

#include "operation.h"

/* Element i is at `from`, by the index where there is one. */
typedef struct {
    const uint8_t *from;
    const uint32_t *index;
} tcn_operand;

static inline uint32_t place_of(const tcn_operand *o, uint32_t i) { return o->index ? o->index[i] : i; }

/* Frame `f` of the operands of a node: constants where `constant_at` says so, else its streams in order. */
void tcn_find_operands(const tcn_job *j, const tcn_lane_run *lane, int64_t f, const uint32_t *constant_at,
                       const uint32_t *index_at, uint32_t count, tcn_operand *made);

/* The operands of a node that makes frames of `elements`: `dtype` of each. */
int tcn_check_operands(tcn_checker *c, const uint32_t *constant_at, const uint32_t *index_at, const uint8_t *dtype,
                       uint32_t count, uint32_t elements);

/* Element i of any integer type. */
int64_t tcn_integer_at(const void *from, uint32_t dtype, uint32_t i);
void tcn_store_integer(void *to, uint32_t dtype, uint32_t i, int64_t value);

/* The value as the type keeps it. */
int64_t tcn_wrapped(int64_t value, uint32_t dtype);

#endif
