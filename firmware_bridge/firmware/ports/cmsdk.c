/* cmsdk.c - Arm's MPS2 and MPS3 images as QEMU has them: the UART of the Cortex-M System Design Kit, and a free
 * 32-bit counter in FPGAIO. Source: Arm DDI 0479 (CMSDK), DAI 0386 and DAI 0547 (memory maps). */
#include "../port.h"
#include "cortexm.h"

#if defined(BOARD_MPS2_AN386)
enum { UART = 0x40004000, RECEIVE = 0, COUNTER = 0x40028018, COUNTER_HZ = 25000000 };
#elif defined(BOARD_MPS3_AN547)
enum { UART = 0x59303000, RECEIVE = 33, COUNTER = 0x59302018, COUNTER_HZ = 20000000 };
#else
#error "define BOARD_MPS2_AN386 or BOARD_MPS3_AN547"
#endif

const port_facts port = {BRIDGE_TARGET, BRIDGE_CLOCK_HZ, COUNTER_HZ, TICKS_INSTRUCTIONS, 1};

enum { DATA = UART, STATE = UART + 4, CONTROL = UART + 8, INTERRUPT = UART + 12, DIVIDER = UART + 16 };

enum { TX_FULL = 1, RX_FULL = 2, TX_ENABLE = 1, RX_ENABLE = 2, RX_INTERRUPT = 8, RX_OVERRUN = 8 };

void board_receive(void)
{
    REGISTER(INTERRUPT) = 2; /* the receive interrupt is over */
    if (REGISTER(STATE) & RX_OVERRUN) {
        REGISTER(STATE) = RX_OVERRUN;
        ring_lost++;
    }
    while (REGISTER(STATE) & RX_FULL)
        ring_put((uint8_t)REGISTER(DATA));
}

void board_tick(void) {}

void port_start(void)
{
    REGISTER(DIVIDER) = 16; /* the fastest that it takes; QEMU does not pace it */
    REGISTER(CONTROL) = TX_ENABLE | RX_ENABLE | RX_INTERRUPT;
    /* QEMU looks for bytes again when one is read, and not when receiving is enabled: what the host said before
     * that would wait for ever. A byte that this swallows is resent. */
    (void)REGISTER(DATA);
    interrupt_enable(RECEIVE);
}

void port_write(const uint8_t *bytes, uint32_t n)
{
    while (n--) {
        while (REGISTER(STATE) & TX_FULL)
            ;
        REGISTER(DATA) = *bytes++;
    }
}

void port_flush(void) {}

/* Asked at least once a wrap (over 170 s) while anything is measured. */
uint64_t port_ticks(void)
{
    static uint32_t last, high;
    uint32_t now = REGISTER(COUNTER);
    high += now < last;
    last = now;
    return (uint64_t)high << 32 | now;
}
