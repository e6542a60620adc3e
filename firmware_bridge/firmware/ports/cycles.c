/* cycles.c - the cycle counter of the DWT, and the reset request: all that an SDK's start-up leaves to us. */
#include "cortexm.h"

void system_reset(void)
{
    __asm volatile("dsb");
    REGISTER(0xE000ED0C) = 0x05FA0004u; /* AIRCR: SYSRESETREQ */
    for (;;)
        __asm volatile("dsb");
}

void cycles_start(void)
{
    REGISTER(0xE000EDFC) |= 1u << 24; /* DEMCR: trace on */
    REGISTER(0xE0001004) = 0;         /* DWT_CYCCNT */
    REGISTER(0xE0001000) |= 1u;       /* DWT_CTRL: count */
}

/* Must be asked at least once every 2^32 cycles, as every push does. */
uint64_t cycles_now(void)
{
    static uint32_t last, high;
    uint32_t now = REGISTER(0xE0001004);
    high += now < last;
    last = now;
    return (uint64_t)high << 32 | now;
}
