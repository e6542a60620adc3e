/* ring.c - core/ring.h against the whole history of a signal: rings of every small size, frames of several widths, alone
 * and with those of other lanes in between, chunks of several lengths.
 *
 * Prints the first difference; exits with 1 if there is one. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ring.h"

enum { FRAMES = 60, MOST_BYTES = 36, ROUNDS = 8 };

static uint32_t seed = 1;

static uint32_t any(uint32_t below)
{
    seed = seed * 1103515245u + 12345u;
    return (seed >> 16) % below;
}

static int differs(const char *what, uint32_t capacity, uint32_t bytes, uint32_t made, uint32_t age)
{
    printf("%s: capacity %u, %u bytes a frame, %u frames so far, age %u\n", what, capacity, bytes, made, age);
    return 1;
}

/* All that a ring says, beside the history that it should remember. */
static int check(const tcn_ring *r, const uint8_t *history, uint32_t made)
{
    uint32_t kept = made < r->capacity ? made : r->capacity, bytes = r->frame_bytes, age, i;
    uint8_t *copied = malloc((size_t)r->capacity * bytes);
    int wrong = 0;
    for (age = 1; age <= kept && !wrong; age++) {
        const uint8_t *frame = ring_frame(r, age), *expected = history + (size_t)(made - age) * bytes;
        uint32_t run = ring_run(r, age);
        if (memcmp(frame, expected, bytes) != 0 || ring_kept_frame(r, age) != frame)
            wrong = differs("frame", r->capacity, bytes, made, age);
        else if (run < 1 || run > age || memcmp(frame, expected, (size_t)run * bytes) != 0)
            wrong = differs("run", r->capacity, bytes, made, age);
        else if (run < age && r->pitch == bytes && frame + (size_t)run * bytes != r->frames + (size_t)r->capacity * bytes)
            wrong = differs("a run that ends before the ring does", r->capacity, bytes, made, age);
        for (i = 1; i < age && !wrong; i++)
            if (ring_later(r, frame, (size_t)i * r->pitch) != ring_frame(r, age - i))
                wrong = differs("later", r->capacity, bytes, made, age);
    }
    ring_copy(r, copied);
    if (!wrong && memcmp(copied + (size_t)(r->capacity - kept) * bytes, history + (size_t)(made - kept) * bytes, (size_t)kept * bytes) != 0)
        wrong = differs("copy", r->capacity, bytes, made, 0);
    /* ages that no ring has stay within it */
    for (i = 0; i < 4 && !wrong; i++) {
        age = any(1 << 16) << 16 | any(1 << 16);
        if (ring_place(r, age) >= r->capacity && age > r->capacity)
            wrong = differs("place", r->capacity, bytes, made, age);
    }
    free(copied);
    return wrong;
}

static int run(uint32_t capacity, uint32_t bytes, uint32_t lanes)
{
    uint8_t history[FRAMES * MOST_BYTES];
    uint32_t made = 0, i;
    tcn_ring ring;
    int wrong = 0;
    uint8_t *memory = malloc((size_t)capacity * bytes * lanes);
    ring.frames = memory + (size_t)(lanes - 1) * bytes;
    ring.pitch = bytes * lanes;
    ring.capacity = capacity;
    ring.frame_bytes = bytes;
    ring.next = 0;
    for (i = 0; i < sizeof history; i++)
        history[i] = (uint8_t)any(256);
    while (made < FRAMES && !wrong) {
        uint32_t n = any(2) ? 1 : any(2 * capacity + 2);
        n = n < FRAMES - made ? n : FRAMES - made;
        if (n == 1 && any(2))
            ring_append_one(&ring, history + (size_t)made * bytes, &ring.next);
        else
            ring.next = ring_append(&ring, history + (size_t)made * bytes, n);
        made += n;
        wrong = ring.next >= capacity ? differs("next", capacity, bytes, made, 0) : check(&ring, history, made);
    }
    free(memory);
    return wrong;
}

int main(void)
{
    static const uint32_t widths[] = {1, 3, 4, 16, 23, 36};
    uint32_t round, capacity, w;
    for (round = 0; round < ROUNDS; round++)
        for (capacity = 1; capacity <= 13; capacity++)
            for (w = 0; w < sizeof widths / sizeof *widths; w++)
                if (run(capacity, widths[w], 1 + round % 3))
                    return 1;
    return 0;
}
