/* window_tree.h - the greatest or the least of the last n values, in log2(n) steps for each new one.
 *
 * Node i stands over nodes 2i and 2i + 1; nodes n to 2n - 1 are the values, each in the place of the one that is n
 * frames older, so none has to be taken out. A value is an int32 in whose order the values stand. */
#ifndef TCN_WINDOW_TREE_H
#define TCN_WINDOW_TREE_H

#include "../kernels/functions.h"

static inline int32_t key_of_float(float x)
{
    uint32_t bits = bits_of_float(x);
    return (int32_t)(bits ^ (bits >> 31 ? 0x7FFFFFFFu : 0));
}

static inline float float_of_key(int32_t key)
{
    return float_of_bits((uint32_t)key ^ (key < 0 ? 0x7FFFFFFFu : 0));
}

static inline int32_t better_of(int32_t a, int32_t b, int least) { return (least ? a < b : a > b) ? a : b; }

static inline void empty_tree(int32_t *tree, uint32_t n, int32_t worst)
{
    uint32_t i;
    for (i = 0; i < 2 * n; i++)
        tree[i] = worst;
}

static inline void put_in_tree(int32_t *tree, uint32_t n, uint32_t place, int32_t key, int least)
{
    uint32_t i = n + place;
    tree[i] = key;
    while (i > 1) {
        i /= 2;
        tree[i] = better_of(tree[2 * i], tree[2 * i + 1], least);
    }
}

/* With one value the only node is its own. */
static inline int32_t best_of_tree(const int32_t *tree) { return tree[1]; }

#endif
