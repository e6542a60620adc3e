/* Counts the calls of the allocator in a process that loads this first (LD_PRELOAD). */
#include <stdatomic.h>
#include <stddef.h>

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);

static atomic_long calls;

void *malloc(size_t n)
{
    atomic_fetch_add(&calls, 1);
    return __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
    atomic_fetch_add(&calls, 1);
    return __libc_calloc(n, size);
}

void *realloc(void *old, size_t n)
{
    atomic_fetch_add(&calls, 1);
    return __libc_realloc(old, n);
}

/* Read by the same process, before and after what is measured. */
long allocator_calls(void) { return atomic_load(&calls); }
