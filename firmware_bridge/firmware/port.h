/* port.h - what a board gives to the application: bytes in, bytes out, a counter, a reset. One file per
 * family of boards in ports/; sizes are defined by the Makefile, one set per board. */
#ifndef BRIDGE_PORT_H
#define BRIDGE_PORT_H

#include <stdint.h>

/* Sizes of the static arrays. */
#ifndef BRIDGE_PAYLOAD
#define BRIDGE_PAYLOAD 4096u /* bytes of the largest payload, both ways */
#endif
#ifndef BRIDGE_WINDOW
#define BRIDGE_WINDOW 4u /* requests that may be under way: so many replies are kept for resends */
#endif
#ifndef BRIDGE_RECEIVE
#define BRIDGE_RECEIVE 16384u /* receive buffer, a power of two: the credit */
#endif
#ifndef BRIDGE_PLAN_RAM
#define BRIDGE_PLAN_RAM (1u << 20) /* a plan that comes over the link; 0: plans are flashed */
#endif
#ifndef BRIDGE_MEMORY
#define BRIDGE_MEMORY (4u << 20) /* the model's state and scratch, and objects: a snapshot in or out, input frames */
#endif
#ifndef BRIDGE_OUTPUT
#define BRIDGE_OUTPUT (256u << 10) /* output frames of one push */
#endif
#ifndef BRIDGE_TAP
#define BRIDGE_TAP (256u << 10) /* frames of the tapped tensor of one push */
#endif
#ifndef BRIDGE_BLOCK
#define BRIDGE_BLOCK 16u /* most input frames per pass of the core */
#endif

enum { TICKS_NANOSECONDS = 0, TICKS_CYCLES = 1, TICKS_INSTRUCTIONS = 2 };

typedef struct {
    const char *target; /* "qemu-m4", "apollo510", ... */
    uint32_t clock_hz;  /* of the processor; 0 if unknown */
    uint32_t ticks_hz;  /* of port_ticks */
    uint8_t ticks_unit; /* what a tick is worth: TICKS_INSTRUCTIONS only under emulation with counted time */
    uint8_t can_reset;
} port_facts;

extern const port_facts port;

/* Clock, pins, receive interrupt. */
void port_start(void);

/* The next received byte, or -1. */
int port_read(void);

/* Received bytes that were lost because the buffer was full or the hardware said so. */
uint32_t port_overruns(void);

/* Sleeps until something may have arrived. */
void port_wait(void);

void port_write(const uint8_t *bytes, uint32_t n);
void port_flush(void);

/* Free-running; never goes back. */
uint64_t port_ticks(void);

/* A plan that was flashed or given on the command line: its place, or NULL. *size is the room that it may have. */
const uint8_t *port_plan(uint32_t *size);

/* High-water mark of the stack in bytes, and its size; 0 where that is unknown. */
uint32_t port_stack_used(void);
uint32_t port_stack_size(void);

/* Starts again as after power-on; returns only where that is impossible. */
void port_reset(void);

#endif
