/* pl011.c - the driver; nothing in it knows a board. */
#include "pl011.h"

#include "cortexm.h"

enum { DR = 0x00, FR = 0x18, IBRD = 0x24, FBRD = 0x28, LCRH = 0x2C, CR = 0x30, IFLS = 0x34, IMSC = 0x38, ICR = 0x44 };

enum { BUSY = 1 << 3, RX_EMPTY = 1 << 4, TX_FULL = 1 << 5 };
enum { WORD_8 = 3 << 5, FIFO_ENABLE = 1 << 4 };
enum { UART_ENABLE = 1, TX_ENABLE = 1 << 8, RX_ENABLE = 1 << 9 };
enum { RECEIVED = 1 << 4, RECEIVE_TIMEOUT = 1 << 6, OVERRUN = 1 << 10 };

void pl011_start(uint32_t base, uint32_t clock_hz, uint32_t baud, uint32_t control)
{
    /* Section 3.3.6: the divider is clock / (16 * baud) with six fractional bits. */
    uint32_t divider = (uint32_t)(((uint64_t)clock_hz * 4 + baud / 2) / baud);
    REGISTER(base + CR) = control;
    REGISTER(base + IBRD) = divider >> 6;
    REGISTER(base + FBRD) = divider & 63;
    REGISTER(base + LCRH) = WORD_8 | FIFO_ENABLE; /* after the dividers, which it makes take effect */
    REGISTER(base + IFLS) = 0;                    /* interrupt from one eighth of the FIFO on */
    REGISTER(base + ICR) = 0x7FF;
    REGISTER(base + IMSC) = RECEIVED | RECEIVE_TIMEOUT | OVERRUN;
    REGISTER(base + CR) = control | UART_ENABLE | TX_ENABLE | RX_ENABLE;
    pl011_interrupt(base); /* what came while the interrupt was being cleared would never ask for another */
}

void pl011_interrupt(uint32_t base)
{
    REGISTER(base + ICR) = RECEIVED | RECEIVE_TIMEOUT | OVERRUN;
    while (!(REGISTER(base + FR) & RX_EMPTY)) {
        uint32_t word = REGISTER(base + DR);
        if (word & 0x800) /* a byte before this one found the FIFO full */
            ring_lost++;
        ring_put((uint8_t)word);
    }
}

void pl011_write(uint32_t base, const uint8_t *bytes, uint32_t n)
{
    while (n--) {
        while (REGISTER(base + FR) & TX_FULL)
            ;
        REGISTER(base + DR) = *bytes++;
    }
}

void pl011_flush(uint32_t base)
{
    while (REGISTER(base + FR) & BUSY)
        ;
}
