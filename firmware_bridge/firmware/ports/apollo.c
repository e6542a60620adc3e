/* apollo.c - Ambiq Apollo3, Apollo4 and Apollo510: power, pins and clock of UART0 on the EVBs' J-Link port, then the
 * driver in pl011.c. Emulated on another chip with the same UART only; never run on an Apollo by this project.
 *
 * Sources: the register descriptions of Apollo3 Blue and Apollo4 Plus (SVD), Zephyr's device trees (UART0 at 0x4001C000,
 * interrupt 15, 24 MHz), AmbiqSuite's board files (pins: Apollo3 EVB 22/23, Apollo4 EVB 60/47, Apollo510 EVB 30/55).
 * Apollo510's power bit of UART0 is taken to be Apollo4's. */
#include "../port.h"
#include "cortexm.h"
#include "pl011.h"

enum { UART0 = 0x4001C000, UART0_IRQ = 15, UART_HZ = 24000000, BAUD = 115200 };
enum { CLOCK_ON = 1 << 3, CLOCK_24_MHZ = 1 << 4 }; /* Ambiq's own bits in PL011's control register */
enum { GPIO = 0x40010000, PAD_KEY = 0x73, POWER = 0x40021000 };

const port_facts port = {BRIDGE_TARGET, BRIDGE_CLOCK_HZ, BRIDGE_CLOCK_HZ, TICKS_CYCLES, 1};

#if defined(BOARD_APOLLO3)

enum { CLOCK_KEY = 0x40004014, CLOCK_CONTROL = 0x40004018 };
enum { PADS_20_TO_23 = GPIO + 0x14, PADKEY = GPIO + 0x60, DEVICES = POWER + 0x08, DEVICES_ON = POWER + 0x18 };

static void board_start(void)
{
    REGISTER(CLOCK_KEY) = 0x47;
    REGISTER(CLOCK_CONTROL) = 0; /* 48 MHz: HFRC undivided */
    REGISTER(CLOCK_KEY) = 0;
    REGISTER(DEVICES) |= 1u << 7;            /* UART0 */
    while (!(REGISTER(DEVICES_ON) & 1u << 2)) /* its domain, HCPA */
        ;
    REGISTER(PADKEY) = PAD_KEY;
    /* pads 22 and 23: function 0 (UART0 TX and RX), input on for the second */
    REGISTER(PADS_20_TO_23) = (REGISTER(PADS_20_TO_23) & 0x0000FFFFu) | 0x02000000u;
    REGISTER(PADKEY) = 0;
}

#elif defined(BOARD_APOLLO4) || defined(BOARD_APOLLO510)

#ifdef BOARD_APOLLO4
enum { TX_PAD = 60, RX_PAD = 47 };
#else
enum { TX_PAD = 30, RX_PAD = 55 };
#endif

enum { PADKEY = GPIO + 0x400, UART_FUNCTION = 4, DEVICES = POWER + 0x04, DEVICES_ON = POWER + 0x08 };

static void board_start(void)
{
    REGISTER(DEVICES) |= 1u << 9; /* UART0 */
    while (!(REGISTER(DEVICES_ON) & 1u << 9))
        ;
    REGISTER(PADKEY) = PAD_KEY;
    REGISTER(GPIO + 4 * TX_PAD) = UART_FUNCTION;
    REGISTER(GPIO + 4 * RX_PAD) = UART_FUNCTION;
    REGISTER(PADKEY) = 0;
}

#else
#error "define BOARD_APOLLO3, BOARD_APOLLO4 or BOARD_APOLLO510"
#endif

void board_receive(void) { pl011_interrupt(UART0); }
void board_tick(void) {}

void port_start(void)
{
    board_start();
    pl011_start(UART0, UART_HZ, BAUD, CLOCK_ON | CLOCK_24_MHZ);
    interrupt_enable(UART0_IRQ);
    cycles_start();
}

void port_write(const uint8_t *bytes, uint32_t n) { pl011_write(UART0, bytes, n); }
void port_flush(void) {}
uint64_t port_ticks(void) { return cycles_now(); }
