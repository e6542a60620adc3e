/* cortexm.h - what all Cortex-M ports share: start, stack, interrupts, the receive ring. */
#ifndef BRIDGE_CORTEXM_H
#define BRIDGE_CORTEXM_H

#include <stdint.h>

#define REGISTER(address) (*(volatile uint32_t *)(uintptr_t)(address))

/* The receive interrupt puts bytes in; the application takes them out. */
void ring_put(uint8_t byte);
int ring_get(void);
extern volatile uint32_t ring_lost;

void interrupt_enable(uint32_t number);
void sleep_unless_received(void);
void system_reset(void);

/* Made by each port. */
void board_receive(void); /* the UART's interrupt */
void board_tick(void);    /* SysTick's */

/* Counts cycles where the processor has a DWT. */
void cycles_start(void);
uint64_t cycles_now(void);

#endif
