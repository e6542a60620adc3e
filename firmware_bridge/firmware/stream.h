/* stream.h - the stream on this board: frames in and out, its state, and a tap on one tensor. */
#ifndef BRIDGE_STREAM_H
#define BRIDGE_STREAM_H

#include <stdint.h>

/* Requests; p has n bytes. All but stream_read want a model. */
void stream_push(const uint8_t *p, uint32_t n);
void stream_flush(const uint8_t *p, uint32_t n);
void stream_reset(const uint8_t *p, uint32_t n);
void stream_snapshot(const uint8_t *p, uint32_t n);
void stream_tap(const uint8_t *p, uint32_t n);
void stream_read(const uint8_t *p, uint32_t n);

/* The snapshot of so many bytes among the objects becomes the state. */
void stream_restore(uint32_t bytes);

/* Another model: no outputs, no snapshot, no tap. */
void stream_forget(void);

#endif
