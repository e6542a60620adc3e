/* apollo_usb.c - USB-CDC on Apollo4 and Apollo510 through neuralSPOT's ns-usb and the TinyUSB in it.
 *
 * Built with SDK=PATH into libbridge.a, because the SDK brings its own start-up code and linker script: a neuralSPOT
 * application links it and calls bridge_run() after ns_core_init. Compiled against the SDK's headers only; never run. */
#include "../app.h"
#include "../port.h"
#include "cortexm.h"

#include "ns_usb.h"
#include "tusb.h"

#if defined(BOARD_APOLLO3)
#error "Apollo3 has no USB: build without SDK= and use its UART"
#endif

const port_facts port = {BRIDGE_TARGET "-usb", BRIDGE_CLOCK_HZ, BRIDGE_CLOCK_HZ, TICKS_CYCLES, 1};

enum { FIFO = 4096 };

/* A plan that the application was linked with, from `tcnstream export --to c-header`. */
extern const uint8_t bridge_plan[] __attribute__((weak));
extern const uint32_t bridge_plan_bytes __attribute__((weak));

static uint8_t receive_fifo[FIFO] __attribute__((aligned(16))), send_fifo[FIFO] __attribute__((aligned(16)));
static usb_handle_t handle;

void port_start(void)
{
    static ns_usb_config_t config;
    config.api = &ns_usb_V1_0_0;
    config.deviceType = NS_USB_CDC_DEVICE;
    config.rx_buffer = receive_fifo;
    config.rx_bufferLength = FIFO;
    config.tx_buffer = send_fifo;
    config.tx_bufferLength = FIFO;
    ns_usb_init(&config, &handle);
    cycles_start();
}

int port_read(void)
{
    uint8_t byte;
    return tud_cdc_available() && tud_cdc_read(&byte, 1) == 1 ? byte : -1;
}

uint32_t port_overruns(void) { return 0; } /* USB holds the host back */
void port_wait(void) { tud_task(); }

/* What nobody reads is dropped after a while: a host that went away must not stop the board. */
void port_write(const uint8_t *bytes, uint32_t n)
{
    uint32_t idle = 0;
    while (n && idle < 1000000u) {
        uint32_t sent = tud_cdc_write(bytes, n);
        bytes += sent;
        n -= sent;
        idle = sent ? 0 : idle + 1;
        if (n) {
            tud_cdc_write_flush();
            tud_task();
        }
    }
}

void port_flush(void) { tud_cdc_write_flush(); }
uint64_t port_ticks(void) { return cycles_now(); }

const uint8_t *port_plan(uint32_t *size)
{
    *size = &bridge_plan_bytes ? bridge_plan_bytes : 0;
    return *size ? bridge_plan : 0;
}

uint32_t port_stack_used(void) { return 0; }
uint32_t port_stack_size(void) { return 0; }
void port_reset(void) { system_reset(); }

/* Never returns. */
void bridge_run(void);

void bridge_run(void)
{
    port_start();
    app_run();
}
