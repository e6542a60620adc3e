/* port.h - what a board gives to the application: bytes in, bytes out, a counter, a reset. One file per
 * family of boards in ports/. */
#ifndef BRIDGE_PORT_H
#define BRIDGE_PORT_H

#include <stdint.h>

#include "protocol.h"

/* PAYLOAD, WINDOW, RECEIVE, PLAN_RAM, MEMORY, OUTPUT, TAP and BLOCK, said in boards/table.py. */
#ifndef BRIDGE_PAYLOAD
#error "the build gives the sizes of a board: firmware-bridge build BOARD FOLDER"
#endif

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

/* Around the computation of each push and flush, beside which nothing runs between them. They do nothing unless a port or
 * an application defines them: to toggle a pin that an energy meter watches. */
void port_push_begins(void);
void port_push_ended(void);

/* A plan that was flashed or given on the command line: its place, or NULL. *size is the room that it may have. */
const uint8_t *port_plan(uint32_t *size);

/* High-water mark of the stack in bytes, and its size; 0 where that is unknown. */
uint32_t port_stack_used(void);
uint32_t port_stack_size(void);

/* Starts again as after power-on; returns only where that is impossible. */
void port_reset(void);

#endif
