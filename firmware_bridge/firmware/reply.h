/* reply.h - the reply under construction: its payload is written straight into the frame that will be sent. */
#ifndef BRIDGE_REPLY_H
#define BRIDGE_REPLY_H

#include <stdint.h>

/* Begins a reply in raw[WIRE_HEAD + BRIDGE_PAYLOAD + WIRE_TAIL], with status STATUS_OK and nothing in it. */
void reply_begin(uint8_t *raw);

uint8_t reply_status(void);
uint32_t reply_bytes(void); /* of the payload so far */
uint32_t reply_room(void);  /* left in it */

void say32(uint32_t v);
void say_bytes(const void *bytes, uint32_t n);
void say_text(const char *text); /* at most 255 characters, and no more than fits */

/* A refusal says what and two numbers: what was wanted and what there is, or a code and a place. */
void refuse(uint8_t status, uint32_t a, uint32_t b);

uint32_t length_of(const char *text);

#endif
