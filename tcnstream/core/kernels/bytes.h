/* bytes.h - memcpy and its kin, also for a compiler that comes without a C library's headers. */
#ifndef TCN_BYTES_H
#define TCN_BYTES_H

#include <stddef.h>

#if defined(__has_include)
#if !__has_include(<string.h>)
#define TCN_NO_STRING_H
#endif
#endif

#ifdef TCN_NO_STRING_H
void *memcpy(void *to, const void *from, size_t size);
void *memmove(void *to, const void *from, size_t size);
void *memset(void *to, int value, size_t size);
int memcmp(const void *a, const void *b, size_t size);
#else
#include <string.h>
#endif

#endif
