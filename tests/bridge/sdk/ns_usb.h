/* As much of neuralSPOT's ns_usb.h as the port uses, for a compiler; the SDK itself is not here. */
#include <stdint.h>
typedef void *usb_handle_t;
typedef struct {
    int version;
} ns_core_api_t;
typedef enum { NS_USB_CDC_DEVICE, NS_USB_VENDOR_DEVICE } ns_usb_device_type_e;
typedef struct {
    const ns_core_api_t *api;
    ns_usb_device_type_e deviceType;
    void *rx_buffer;
    uint16_t rx_bufferLength;
    void *tx_buffer;
    uint16_t tx_bufferLength;
    void (*rx_cb)(void *);
    void (*tx_cb)(void *);
    void (*service_cb)(uint8_t);
    void *desc_url;
} ns_usb_config_t;
extern const ns_core_api_t ns_usb_V1_0_0;
uint32_t ns_usb_init(ns_usb_config_t *, usb_handle_t *);
