/* model.c - takes a plan over if it is sound and fits. */
#include "model.h"

#include "kernels/bytes.h"
#include "kernels/kernels.h"

#include "layout.h"
#include "port.h"
#include "sha256.h"

bridge_model model;

static uint8_t memory[BRIDGE_MEMORY] __attribute__((aligned(64)));

static size_t aligned(size_t n) { return (n + 63) & ~(size_t)63; }

void model_drop(void)
{
    model.plan = NULL;
    model.objects = memory;
    model.objects_room = sizeof memory;
}

/* The largest block with which the model leaves so much for objects; 0 if there is none. */
static uint32_t block_for(const tcn_plan *plan, size_t objects)
{
    uint32_t block = BRIDGE_BLOCK;
    while (block && aligned(tcn_state_size(plan)) + aligned(tcn_scratch_size(plan, block, 1)) + objects > sizeof memory)
        block--;
    return block;
}

static size_t frame_bytes(const tcn_plan *plan, uint32_t tensor)
{
    tcn_tensor_facts facts;
    tcn_describe_tensor(plan, tensor, &facts);
    return facts.frame_bytes;
}

static size_t inputs_bytes(const tcn_plan *plan)
{
    size_t sum = 0;
    uint32_t i;
    for (i = 0; i < tcn_inputs(plan); i++)
        sum += frame_bytes(plan, tcn_input_tensor(plan, i));
    return sum;
}

static uint8_t reject(uint8_t status, size_t a, size_t b, uint32_t why[2])
{
    why[0] = (uint32_t)a;
    why[1] = (uint32_t)b;
    return status;
}

uint8_t model_adopt(const uint8_t *bytes, uint32_t size, int flashed, uint32_t why[2])
{
    const tcn_plan *plan = (const tcn_plan *)(const void *)bytes;
    size_t position = 0, state_bytes, scratch_bytes;
    uint32_t block;
    int error = tcn_check(bytes, size, &position);
    model_drop();
    if (error == TCN_FAMILY) /* the plan's, and this core's */
        position = (size_t)((const tcn_header *)(const void *)bytes)->family << 16 | TCN_FAMILY_HERE;
    if (error)
        return reject(STATUS_CORE, (size_t)error, position, why);
    block = block_for(plan, aligned(tcn_snapshot_size(plan)));
    if (!block) /* without snapshots, but with frames to compute */
        block = block_for(plan, aligned(inputs_bytes(plan)));
    state_bytes = aligned(tcn_state_size(plan));
    scratch_bytes = aligned(tcn_scratch_size(plan, block ? block : 1, 1));
    if (!block)
        return reject(STATUS_TOO_BIG, state_bytes + scratch_bytes + aligned(inputs_bytes(plan)), sizeof memory, why);
    error = tcn_prepare(&model.work, memory + state_bytes, scratch_bytes, plan, block, 1, TCN_ISA_BEST);
    if (!error)
        error = tcn_init((tcn_state *)(void *)memory, state_bytes, plan);
    if (error)
        return reject(STATUS_CORE, (size_t)error, 0, why);
    model.plan = plan;
    model.plan_bytes = ((const tcn_header *)(const void *)bytes)->bytes;
    model.flashed = (uint8_t)flashed;
    model.state = (tcn_state *)(void *)memory;
    model.objects = memory + state_bytes + scratch_bytes;
    model.objects_room = (uint32_t)(sizeof memory - state_bytes - scratch_bytes);
    sha256(bytes, model.plan_bytes, model.plan_hash);
    return STATUS_OK;
}

uint32_t model_input_frame(uint32_t i) { return (uint32_t)frame_bytes(model.plan, tcn_input_tensor(model.plan, i)); }
uint32_t model_output_frame(uint32_t i) { return (uint32_t)frame_bytes(model.plan, tcn_output_tensor(model.plan, i)); }
uint32_t model_input_bytes(void) { return (uint32_t)inputs_bytes(model.plan); }
