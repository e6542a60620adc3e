/* lm3s6965.c - QEMU's lm3s6965evb, here with `-cpu cortex-m4`: the PL011 driver that an Apollo needs, in emulation.
 * Source: Stellaris LM3S6965 data sheet (memory map, RCC, SysTick). */
#include "../port.h"
#include "cortexm.h"
#include "pl011.h"

enum { UART0 = 0x4000C000, UART0_IRQ = 5, BAUD = 115200 };

enum { SYSTICK_CONTROL = 0xE000E010, SYSTICK_RELOAD = 0xE000E014, SYSTICK_NOW = 0xE000E018, PENDING = 0xE000ED04 };

const port_facts port = {BRIDGE_TARGET, BRIDGE_CLOCK_HZ, BRIDGE_CLOCK_HZ, TICKS_INSTRUCTIONS, 1};

static volatile uint32_t wraps;

void board_receive(void) { pl011_interrupt(UART0); }
void board_tick(void) { wraps++; }

void port_start(void)
{
    REGISTER(0x400FE104) |= 1; /* RCGC1: clock to UART0 */
    REGISTER(0x400FE108) |= 1; /* RCGC2: clock to port A, where its pins are */
    REGISTER(SYSTICK_RELOAD) = 0xFFFFFF;
    REGISTER(SYSTICK_NOW) = 0;
    REGISTER(SYSTICK_CONTROL) = 7; /* processor clock, interrupt, on */
    pl011_start(UART0, BRIDGE_CLOCK_HZ, BAUD, 0);
    interrupt_enable(UART0_IRQ);
}

void port_write(const uint8_t *bytes, uint32_t n) { pl011_write(UART0, bytes, n); }
void port_flush(void) { pl011_flush(UART0); }

/* SysTick has 24 bits and counts down; a wrap whose interrupt still waits is counted here. */
uint64_t port_ticks(void)
{
    uint32_t high, low, waits;
    __asm volatile("cpsid i" ::: "memory");
    low = REGISTER(SYSTICK_NOW);
    waits = REGISTER(PENDING) >> 26 & 1;
    if (waits)
        low = REGISTER(SYSTICK_NOW);
    high = wraps + waits;
    __asm volatile("cpsie i" ::: "memory");
    return (uint64_t)high * 0x1000000u + ((0u - low) & 0xFFFFFFu);
}
