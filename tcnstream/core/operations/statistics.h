/* statistics.h - mean, sum, maximum and minimum: what REDUCE and the policies share. */
#ifndef TCN_STATISTICS_H
#define TCN_STATISTICS_H

#include "operands.h"

/* QuantizedMeanOrSum; a mean of `count` values has the count folded into its multiplier */
static inline int32_t statistic_of(const reduce_args *a, int64_t sum, int64_t count, int fold)
{
    int32_t multiplier = a->multiplier, shift = a->shift;
    if (fold) {
        int places = 0;
        while ((count >> (places + 1)) > 0)
            places++;
        places = places > 32 ? 32 : places;
        places = places > 31 + shift ? 31 + shift : places;
        multiplier = (int32_t)(((int64_t)multiplier << places) / count);
        shift -= places;
    }
    sum = wrap32((int64_t)wrap32(sum) - (int64_t)a->zero_in * count);
    return clip32(add32(multiply_twice((int32_t)sum, multiplier, shift), a->zero_out), a->low, a->high);
}

/* The arguments of all of them. */
int tcn_check_statistics(tcn_checker *c);

#endif
