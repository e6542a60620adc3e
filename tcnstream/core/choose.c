/* choose.c - which instruction sets were built in, and which of them this processor has. */
#include "internal.h"

#if defined(__linux__) && (defined(TCN_ARM_DOT) || defined(TCN_ARM_NEON_CHOSEN))
/* Linux tells a program what its processor has; without an operating system the compiler knows it. */
unsigned long getauxval(unsigned long type);
enum { HARDWARE = 16, NEON_HERE = 1 << 12, DOT_HERE = 1 << 20 };
#endif

static int has(int isa)
{
#if defined(__x86_64__) && defined(__GNUC__)
    int wide;
    __builtin_cpu_init();
    wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    if (isa == TCN_ISA_AVX2)
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (isa == TCN_ISA_AVX512)
        return wide;
    if (isa == TCN_ISA_VNNI)
        return wide && __builtin_cpu_supports("avx512vnni");
#endif
#if defined(__linux__) && defined(TCN_ARM_DOT) && !defined(__ARM_FEATURE_DOTPROD)
    if (isa == TCN_ISA_DOT)
        return (getauxval(HARDWARE) & DOT_HERE) != 0;
#endif
#if defined(TCN_ARM_NEON_CHOSEN)
    if (isa == TCN_ISA_BASE)
        return (getauxval(HARDWARE) & NEON_HERE) != 0;
#endif
    (void)isa;
    return 1;
}

/* The best first. */
static const tcn_kernels *const built[] = {
#if defined(__x86_64__) && defined(__GNUC__)
    &tcn_kernels_vnni,
    &tcn_kernels_avx512,
    &tcn_kernels_avx2,
#endif
#ifdef TCN_ARM_DOT
    &tcn_kernels_dot,
#endif
#ifdef TCN_HAS_BASE
    &tcn_kernels_base,
#endif
#ifdef TCN_HAS_PLAIN
    &tcn_kernels_plain,
#endif
};

#ifdef TCN_HAS_FUSED
const tcn_fused_kernels *tcn_fused_kernels_for(int isa)
{
    switch (isa) {
#ifdef __x86_64__
    case TCN_ISA_AVX2:
        return &tcn_fused_avx2;
    case TCN_ISA_AVX512:
    case TCN_ISA_VNNI:
        return &tcn_fused_avx512;
#else
    case TCN_ISA_BASE:
    case TCN_ISA_DOT:
        return &tcn_fused_neon;
#endif
    default:
        return NULL;
    }
}
#endif

const tcn_kernels *tcn_kernels_for(int isa)
{
    size_t k;
    for (k = 0; k < sizeof built / sizeof *built; k++)
        if ((isa == TCN_ISA_BEST || isa == built[k]->isa) && has(built[k]->isa))
            return built[k];
    return NULL;
}
