/* base.c - the vectors that every processor of a family has, or that the compiler was told of: SSE2 on x86-64,
 * NEON on aarch64 and armv7, the DSP extension and Helium on Cortex-M. */
#include "kernels.h"

#if defined(__x86_64__) && defined(__GNUC__)

#include <emmintrin.h>
#define ISA TCN_ISA_BASE
#define KERNELS tcn_kernels_base
#define LANES 4
#define TILE_16 2
#define TILE 4
#include "x86.h"

#elif defined(TCN_ARM_NEON)

#ifdef TCN_ARM_NEON_CHOSEN
#pragma GCC push_options
#pragma GCC target("arch=armv7-a+neon")
#endif
#include <arm_neon.h>
#define ISA TCN_ISA_BASE
#define KERNELS tcn_kernels_base
#include "neon.h"
#ifdef TCN_ARM_NEON_CHOSEN
#pragma GCC pop_options
#endif

#elif defined(TCN_ARM_M)

#include "cortex_m.h"

#endif
