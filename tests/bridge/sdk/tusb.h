/* As much of TinyUSB's API as the port uses. */
#include <stdint.h>
uint32_t tud_cdc_available(void);
uint32_t tud_cdc_read(void *buffer, uint32_t size);
uint32_t tud_cdc_write(const void *buffer, uint32_t size);
uint32_t tud_cdc_write_flush(void);
void tud_task(void);
