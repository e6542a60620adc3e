/* dot.c - NEON with the dot product of bytes (Armv8.2 and later). */
#include "kernels.h"

#ifdef TCN_ARM_DOT

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("dotprod"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("arch=armv8.2-a+dotprod")
#endif
#include <arm_neon.h>

#define ISA TCN_ISA_DOT
#define KERNELS tcn_kernels_dot
#define DOT
#include "neon.h"

#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
