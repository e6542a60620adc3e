/* model.h - the model that runs here, and how its memory is shared out: state | scratch | objects. */
#ifndef BRIDGE_MODEL_H
#define BRIDGE_MODEL_H

#include <stdint.h>

#include "tcn.h"

#include "protocol.h"

typedef struct {
    const tcn_plan *plan; /* NULL: no model; then objects have all of the memory */
    uint32_t plan_bytes;
    uint8_t plan_hash[HASH_BYTES];
    uint8_t flashed;
    tcn_work work;
    tcn_state *state;
    uint8_t *objects; /* snapshots in or out, and input frames */
    uint32_t objects_room;
} bridge_model;

extern bridge_model model;

/* Before anything else: no model. */
void model_drop(void);

/* Makes `bytes` the model; STATUS_OK, or STATUS_TOO_BIG or STATUS_CORE with two numbers in why. `flashed`: they do
 * not stand in RAM. */
uint8_t model_adopt(const uint8_t *bytes, uint32_t size, int flashed, uint32_t why[2]);

uint32_t model_input_bytes(void); /* of a frame of every input */
uint32_t model_input_frame(uint32_t i);
uint32_t model_output_frame(uint32_t i);

#endif
