/* ring.h - the newest frames of a tensor, kept in a circle that the state holds.
 *
 * A frame's age counts from the next one that will come: the newest frame has age 1, the oldest that is kept has age
 * `capacity`. Nothing moves when a frame comes: it takes the place of the oldest. */
#ifndef TCN_RING_H
#define TCN_RING_H

#include <stdint.h>
#include <string.h>

/* A host may keep the rings of several lanes side by side: frames of other lanes stand between two of one ring, and those
 * that lanes in step read are neighbours. A microcontroller has no use for it. */
#if !defined(__ARM_ARCH_PROFILE) || __ARM_ARCH_PROFILE != 'M'
#define RINGS_SIDE_BY_SIDE
#endif

typedef struct {
    uint8_t *frames;      /* (capacity, pitch) */
    uint32_t capacity;    /* 1 to INT32_MAX */
    uint32_t frame_bytes;
    uint32_t next;        /* which frame the next one replaces */
#ifdef RINGS_SIDE_BY_SIDE
    uint32_t pitch;       /* bytes from a frame to the next one, at least frame_bytes */
#endif
} tcn_ring;

#ifdef RINGS_SIDE_BY_SIDE
#define RING_PITCH(r) ((r)->pitch)
#else
#define RING_PITCH(r) ((r)->frame_bytes)
#endif

/* Where in the circle the frame of an age stands; what no ring has kept (of a plan that is not valid) is some frame. */
static inline uint32_t ring_place(const tcn_ring *r, uint32_t age)
{
    uint32_t place = r->next - age;
    if (age > r->next) {
        place += r->capacity;
        if (place >= r->capacity)
            place = 0;
    }
    return place;
}

static inline const uint8_t *ring_frame(const tcn_ring *r, uint32_t age)
{
    return r->frames + (size_t)ring_place(r, age) * RING_PITCH(r);
}

/* The same for an age that is known to be at most `capacity`. */
static inline const uint8_t *ring_kept_frame(const tcn_ring *r, uint32_t age)
{
    int32_t place = (int32_t)(r->next - age);
    if (place < 0)
        place += (int32_t)r->capacity;
    return r->frames + (size_t)place * RING_PITCH(r);
}

/* How many frames stand side by side from that of an age on, towards the newest. */
static inline uint32_t ring_run(const tcn_ring *r, uint32_t age)
{
    uint32_t run = age;
    if (RING_PITCH(r) != r->frame_bytes)
        return 1;
    if (age > r->next) {
        run = r->capacity - ring_place(r, age);
        if (run > age)
            run = 1;
    }
    return run;
}

/* The frame that stands `step_bytes` (of whole pitches, at most the ring) behind another, in the order of time. */
static inline const uint8_t *ring_later(const tcn_ring *r, const uint8_t *frame, size_t step_bytes)
{
    size_t all = (size_t)r->capacity * RING_PITCH(r);
    frame += step_bytes;
    return frame >= r->frames + all ? frame - all : frame;
}

#ifdef RINGS_SIDE_BY_SIDE
/* ring_append where frames of other lanes stand in between. */
static inline uint32_t ring_append_apart(const tcn_ring *r, const uint8_t *frames, uint64_t n)
{
    uint32_t next = r->next;
    if (n > r->capacity) {
        frames += (size_t)(n - r->capacity) * r->frame_bytes;
        n = r->capacity;
    }
    for (; n; n--, frames += r->frame_bytes) {
        memcpy(r->frames + (size_t)next * r->pitch, frames, r->frame_bytes);
        next = next + 1 == r->capacity ? 0 : next + 1;
    }
    return next;
}
#endif

/* Takes in `n` frames; returns the new `next`. */
static inline uint32_t ring_append(const tcn_ring *r, const uint8_t *frames, uint64_t n)
{
    uint32_t few, until_end;
#ifdef RINGS_SIDE_BY_SIDE
    if (r->pitch != r->frame_bytes)
        return ring_append_apart(r, frames, n);
#endif
    if (n >= r->capacity) {
        memcpy(r->frames, frames + (size_t)(n - r->capacity) * r->frame_bytes, (size_t)r->capacity * r->frame_bytes);
        return 0;
    }
    few = (uint32_t)n;
    until_end = r->capacity - r->next < few ? r->capacity - r->next : few;
    memcpy(r->frames + (size_t)r->next * r->frame_bytes, frames, (size_t)until_end * r->frame_bytes);
    memcpy(r->frames, frames + (size_t)until_end * r->frame_bytes, (size_t)(few - until_end) * r->frame_bytes);
    few += r->next;
    return few >= r->capacity ? few - r->capacity : few;
}

/* Some bytes to another place. Faster than memcpy for frames of some words. */
static inline void ring_copy_frame(uint8_t *to, const uint8_t *frame, uint32_t left)
{
#if defined(__ARM_FEATURE_MVE)
    __asm volatile("dlstp.8 lr, %2\n0:\tvldrb.u8 q0, [%0], #16\n\tvstrb.8 q0, [%1], #16\n\tletp lr, 0b"
                   : "+r"(frame), "+r"(to) : "r"(left) : "lr", "d0", "d1", "memory");
#elif defined(__ARM_ARCH_PROFILE) && __ARM_ARCH_PROFILE == 'M' && __ARM_ARCH >= 7
    /* ldm wants words. Behind the loops the last four bits are still what is left; a shift puts two of them into flags, those
     * of 8 and 4, then of 2 and 1. */
    __asm volatile("orr r3, %0, %1\n\tlsls r3, #30\n\tbne 1f\n"
                   "\tsubs %2, #16\n\tblo 3f\n"
                   "0:\tldm %0!, {r3, r4, r5, r6}\n\tstm %1!, {r3, r4, r5, r6}\n\tsubs %2, #16\n\tbhs 0b\n"
                   "\tb 3f\n"
                   "1:\tsubs %2, #16\n\tblo 3f\n"
                   "2:\tldr r3, [%0], #4\n\tldr r4, [%0], #4\n\tldr r5, [%0], #4\n\tldr r6, [%0], #4\n"
                   "\tstr r3, [%1], #4\n\tstr r4, [%1], #4\n\tstr r5, [%1], #4\n\tstr r6, [%1], #4\n"
                   "\tsubs %2, #16\n\tbhs 2b\n"
                   "3:\tlsls r3, %2, #28\n\tbeq 4f\n\tlsls r3, r3, #1\n"
                   "\titttt cs\n\tldrcs r3, [%0], #4\n\tldrcs r4, [%0], #4\n\tstrcs r3, [%1], #4\n\tstrcs r4, [%1], #4\n"
                   "\titt mi\n\tldrmi r3, [%0], #4\n\tstrmi r3, [%1], #4\n"
                   "\tlsls r3, %2, #31\n"
                   "\titt cs\n\tldrhcs r3, [%0], #2\n\tstrhcs r3, [%1], #2\n"
                   "\titt mi\n\tldrbmi r3, [%0]\n\tstrbmi r3, [%1]\n"
                   "4:"
                   : "+&r"(frame), "+&r"(to), "+&r"(left) : : "r3", "r4", "r5", "r6", "cc", "memory");
#else
    for (; left >= 16; left -= 16, frame += 16, to += 16)
        memcpy(to, frame, 16);
    if (left & 8) {
        memcpy(to, frame, 8);
        frame += 8, to += 8;
    }
    if (left & 4) {
        memcpy(to, frame, 4);
        frame += 4, to += 4;
    }
    if (left & 2) {
        memcpy(to, frame, 2);
        frame += 2, to += 2;
    }
    if (left & 1)
        *to = *frame;
#endif
}

#if defined(__ARM_ARCH_PROFILE) && __ARM_ARCH_PROFILE == 'M' && __ARM_ARCH >= 7 && !defined(__ARM_FEATURE_MVE)
#define RING_COPIES_WORDS
/* The same of words, both places being aligned to them. */
static inline void ring_copy_words(uint8_t *to, const uint8_t *frame, uint32_t left)
{
    __asm volatile("subs %2, #16\n\tblo 1f\n"
                   "0:\tldm %0!, {r3, r4, r5, r6}\n\tstm %1!, {r3, r4, r5, r6}\n\tsubs %2, #16\n\tbhs 0b\n"
                   "1:\tlsls r3, %2, #28\n\tbeq 2f\n\tlsls r3, r3, #1\n"
                   "\titt cs\n\tldrdcs r4, r5, [%0], #8\n\tstrdcs r4, r5, [%1], #8\n"
                   "\titt mi\n\tldrmi r3, [%0]\n\tstrmi r3, [%1]\n"
                   "2:"
                   : "+&r"(frame), "+&r"(to), "+&r"(left) : : "r3", "r4", "r5", "r6", "cc", "memory");
}
#endif

/* Takes in one frame; `next` is then the new one. */
static inline void ring_append_one(const tcn_ring *r, const uint8_t *frame, uint32_t *next)
{
    uint8_t *to = r->frames + (size_t)r->next * RING_PITCH(r);
    *next = r->next + 1 == r->capacity ? 0 : r->next + 1;
    ring_copy_frame(to, frame, r->frame_bytes);
}

/* All frames in the order of time, oldest first. */
static inline void ring_copy(const tcn_ring *r, uint8_t *to)
{
    size_t split = (size_t)r->next * r->frame_bytes, all = (size_t)r->capacity * r->frame_bytes;
#ifdef RINGS_SIDE_BY_SIDE
    uint32_t age;
    if (r->pitch != r->frame_bytes) {
        for (age = r->capacity; age; age--, to += r->frame_bytes)
            memcpy(to, ring_kept_frame(r, age), r->frame_bytes);
        return;
    }
#endif
    memcpy(to, r->frames + split, all - split);
    memcpy(to + all - split, r->frames, split);
}

#endif
