/* memory.c - memory for the core. */
#include "binding.h"

void *claim(size_t size)
{
    uint8_t *raw = PyMem_Malloc(size + 64 + sizeof(void *)), *aligned;
    if (!raw)
        return NULL;
    aligned = (uint8_t *)(((uintptr_t)raw + sizeof(void *) + 63) & ~(uintptr_t)63);
    memcpy(aligned - sizeof(void *), &raw, sizeof raw);
    return aligned;
}

void release(void *aligned)
{
    void *raw;
    if (!aligned)
        return;
    memcpy(&raw, (uint8_t *)aligned - sizeof(void *), sizeof raw);
    PyMem_Free(raw);
}
