/* cortexm.c - vector table, start-up, painted stack, receive ring, and the four functions that GCC may call. */
#include "cortexm.h"

#include <stddef.h>

#include "../app.h"
#include "../port.h"

enum { PAINT = 0xA5A5A5A5u, INTERRUPTS = 240 };

extern uint32_t stack_bottom[], stack_top[], data_from[], data_begin[], data_end[], bss_begin[], bss_end[];
extern const uint8_t plan_begin[], plan_end[];

int main(void);
void start(void);

static void stop(void)
{
    /* A fault: start again, so that the host sees a restarted board instead of a silent one. */
    system_reset();
}

static void nothing(void) {}

typedef void (*handler)(void);

__attribute__((section(".vectors"), used)) static const struct {
    uint32_t *stack;
    handler core[15];
    handler board[INTERRUPTS];
} vectors = {
    stack_top,
    {start, stop, stop, stop, stop, stop, stop, NULL, NULL, NULL, nothing, nothing, NULL, nothing, board_tick},
    {[0 ... INTERRUPTS - 1] = board_receive},
};

/* The stack is painted from its end to just below the frame that is live here. */
__attribute__((noinline)) static void paint(void)
{
    uint32_t *at = stack_bottom, *here = (uint32_t *)__builtin_frame_address(0) - 16;
    while (at < here)
        *at++ = PAINT;
}

uint32_t port_stack_used(void)
{
    const uint32_t *at = stack_bottom;
    while (at < stack_top && *at == PAINT)
        at++;
    return (uint32_t)((const uint8_t *)stack_top - (const uint8_t *)at);
}

uint32_t port_stack_size(void) { return (uint32_t)((const uint8_t *)stack_top - (const uint8_t *)stack_bottom); }

const uint8_t *port_plan(uint32_t *size)
{
    *size = (uint32_t)(plan_end - plan_begin);
    return *size ? plan_begin : NULL;
}

__attribute__((naked, section(".start"))) void start(void)
{
    /* A loader may enter here without the stack pointer of the vector table. */
    __asm volatile("ldr r0, =stack_top\n mov sp, r0\n b start_c\n .ltorg\n");
}

__attribute__((used, noreturn)) static void start_c(void)
{
    uint32_t *to = data_begin;
    const uint32_t *from = data_from;
    while (to < data_end)
        *to++ = *from++;
    for (to = bss_begin; to < bss_end;)
        *to++ = 0;
    REGISTER(0xE000ED08) = (uint32_t)(uintptr_t)&vectors; /* VTOR */
    REGISTER(0xE000ED88) |= 0xFu << 20;                   /* FPU on */
    REGISTER(0xE000EF34) = 0; /* no lazy stacking: one more thing that a measurement need not know */
    __asm volatile("dsb\n isb");
    paint();
    main();
    for (;;)
        system_reset();
}

int main(void)
{
    port_start();
    __asm volatile("cpsie i");
    app_run();
}

/* Receive ring ------------------------------------------------------------------------------------ */

static volatile uint8_t ring[BRIDGE_RECEIVE];
static volatile uint32_t ring_in, ring_out;
volatile uint32_t ring_lost;

void ring_put(uint8_t byte)
{
    if (ring_in - ring_out < BRIDGE_RECEIVE) {
        ring[ring_in % BRIDGE_RECEIVE] = byte;
        ring_in++;
    } else {
        ring_lost++;
    }
}

int ring_get(void)
{
    int byte;
    if (ring_in == ring_out)
        return -1;
    byte = ring[ring_out % BRIDGE_RECEIVE];
    ring_out++;
    return byte;
}

int port_read(void) { return ring_get(); }
uint32_t port_overruns(void) { return ring_lost; }

void sleep_unless_received(void)
{
    __asm volatile("cpsid i" ::: "memory");
    if (ring_in == ring_out)
        __asm volatile("dsb\n wfi");
    __asm volatile("cpsie i\n isb" ::: "memory");
}

void port_wait(void) { sleep_unless_received(); }

void interrupt_enable(uint32_t number) { REGISTER(0xE000E100u + number / 32 * 4) = 1u << number % 32; }

void port_reset(void) { system_reset(); }

/* What GCC calls where it likes ------------------------------------------------------------------- */

void *memcpy(void *restrict to, const void *restrict from, size_t n)
{
    uint8_t *a = to;
    const uint8_t *b = from;
    if ((((uintptr_t)a | (uintptr_t)b) & 3) == 0) {
        for (; n >= 16; n -= 16, a += 16, b += 16) {
            const uint32_t *w = (const uint32_t *)(const void *)b;
            uint32_t w0 = w[0], w1 = w[1], w2 = w[2], w3 = w[3], *v = (uint32_t *)(void *)a;
            v[0] = w0;
            v[1] = w1;
            v[2] = w2;
            v[3] = w3;
        }
        for (; n >= 4; n -= 4, a += 4, b += 4)
            *(uint32_t *)(void *)a = *(const uint32_t *)(const void *)b;
    }
    while (n--)
        *a++ = *b++;
    return to;
}

void *memmove(void *to, const void *from, size_t n)
{
    uint8_t *a = to;
    const uint8_t *b = from;
    if (a <= b || a >= b + n)
        return memcpy(to, from, n);
    while (n--)
        a[n] = b[n];
    return to;
}

void *memset(void *to, int value, size_t n)
{
    uint8_t *a = to;
    while (n--)
        *a++ = (uint8_t)value;
    return to;
}

int memcmp(const void *x, const void *y, size_t n)
{
    const uint8_t *a = x, *b = y;
    for (; n--; a++, b++)
        if (*a != *b)
            return *a < *b ? -1 : 1;
    return 0;
}
