/* choose.c - which instruction sets were built in, and which of them this processor has. */
#include "internal.h"

#if defined(__x86_64__) && defined(__GNUC__)

static int has(int isa)
{
    int wide;
    __builtin_cpu_init();
    wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    switch (isa) {
    case TCN_ISA_AVX2:
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    case TCN_ISA_AVX512:
        return wide;
    case TCN_ISA_VNNI:
        return wide && __builtin_cpu_supports("avx512vnni");
    default:
        return 1;
    }
}

static const tcn_kernels *const built[] = {&tcn_kernels_vnni, &tcn_kernels_avx512, &tcn_kernels_avx2, &tcn_kernels_plain};

#else

static int has(int isa)
{
    (void)isa;
    return 1;
}

static const tcn_kernels *const built[] = {&tcn_kernels_plain};

#endif

const tcn_kernels *tcn_kernels_for(int isa)
{
    size_t k;
    for (k = 0; k < sizeof built / sizeof *built; k++)
        if ((isa == TCN_ISA_BEST || isa == built[k]->isa) && has(built[k]->isa))
            return built[k];
    return NULL;
}
