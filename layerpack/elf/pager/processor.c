/* Whether the processor has what a library was reduced to. */
#include "pager.h"

#if defined(__x86_64__)
#include <cpuid.h>

/* CPUID, leaf 1 ECX and leaf 7 EBX, and XCR0 (Intel SDM, volume 2, CPUID; volume 1, 13.3). */
#define FMA (1u << 12)
#define OSXSAVE (1u << 27)
#define AVX2 (1u << 5)
#define AVX512 (1u << 16 | 1u << 17 | 1u << 28 | 1u << 30 | 1u << 31) /* F, DQ, CD, BW, VL */
#define YMM_STATE 0x06u
#define ZMM_STATE 0xE6u

static const char *lacking(uint32_t needs)
{
    uint32_t a, b, c, d, features, more = 0, state = 0;
    if (needs != LP_NEEDS_AVX2 && needs != LP_NEEDS_AVX512)
        return NULL;
    __cpuid(1, a, b, features, d);
    if (__get_cpuid_max(0, NULL) >= 7)
        __cpuid_count(7, 0, a, more, c, d);
    if (features & OSXSAVE)
        __asm__ volatile("xgetbv" : "=a"(state), "=d"(d) : "c"(0));
    if (!(features & FMA) || !(more & AVX2) || (state & YMM_STATE) != YMM_STATE)
        return "it was reduced to code for processors with AVX2, and this one has none";
    if (needs == LP_NEEDS_AVX512 && ((more & AVX512) != AVX512 || (state & ZMM_STATE) != ZMM_STATE))
        return "it was reduced to code for processors with AVX-512, and this one has none";
    return NULL;
}

#elif defined(__aarch64__)
#include <sys/auxv.h>

/* HWCAP_SVE of the kernel's asm/hwcap.h. */
#define SVE (1ul << 22)

static const char *lacking(uint32_t needs)
{
    if (needs == LP_NEEDS_SVE && !(getauxval(AT_HWCAP) & SVE))
        return "it was reduced to code for processors with SVE, and this one has none";
    return NULL;
}

#endif

void lp_check_processor(const struct lp_library *library)
{
    if (library->drops == NULL)
        return;
    const char *what = lacking(library->drops->needs);
    if (what != NULL)
        lp_die(library->path, what, (const char *)library->drops + library->drops->advice);
}
