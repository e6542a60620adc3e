/* cycles.c - the cycle counter of the DWT or, on an M55, of its PMU, and the reset request: all that an SDK's start-up leaves to us. */
#include "cortexm.h"

void system_reset(void)
{
    __asm volatile("dsb");
    REGISTER(0xE000ED0C) = 0x05FA0004u; /* AIRCR: SYSRESETREQ */
    for (;;)
        __asm volatile("dsb");
}

#ifdef __ARM_FEATURE_MVE /* the PMU of an M55 counts where a chip left out the DWT's counter; else they are one */
enum { COUNTER = 0xE000307C, ENABLED = 0xE0003C00, CONTROL = 0xE0003E04 };

static void counter_start(void)
{
    REGISTER(ENABLED) = 1u << 31; /* PMU_CNTENSET: the cycle counter */
    REGISTER(CONTROL) |= 5u;      /* PMU_CTRL: from 0 on, count */
}
#else
enum { COUNTER = 0xE0001004, CONTROL = 0xE0001000 };

static void counter_start(void)
{
    REGISTER(COUNTER) = 0;   /* DWT_CYCCNT */
    REGISTER(CONTROL) |= 1u; /* DWT_CTRL: count */
}
#endif

void cycles_start(void)
{
    REGISTER(0xE000EDFC) |= 1u << 24; /* DEMCR: trace on */
    counter_start();
}

/* Must be asked at least once every 2^32 cycles, as every push does. */
uint64_t cycles_now(void)
{
    static uint32_t last, high;
    uint32_t now = REGISTER(COUNTER);
    high += now < last;
    last = now;
    return (uint64_t)high << 32 | now;
}
