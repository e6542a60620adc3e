/* pl011.h - Arm's PrimeCell UART, which Apollo chips and QEMU's lm3s6965evb both have. Source: Arm DDI 0183. */
#ifndef BRIDGE_PL011_H
#define BRIDGE_PL011_H

#include <stdint.h>

/* 8N1 with FIFOs and receive interrupts; `clock_hz` is what the UART itself is clocked with. */
void pl011_start(uint32_t base, uint32_t clock_hz, uint32_t baud, uint32_t control);
void pl011_interrupt(uint32_t base);
void pl011_write(uint32_t base, const uint8_t *bytes, uint32_t n);
void pl011_flush(uint32_t base);

#endif
