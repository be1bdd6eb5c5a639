/* System calls without libc: they leave errno alone, are no cancellation points, and are safe in
 * a signal handler. A negative result is -errno. */
#ifndef LAYERPACK_SYS_H
#define LAYERPACK_SYS_H

#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>

static inline long lp_call6(long number, long a, long b, long c, long d, long e, long f)
{
#if defined(__x86_64__)
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
#elif defined(__aarch64__)
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    register long x5 __asm__("x5") = f;
    __asm__ volatile("svc 0"
                     : "+r"(x0)
                     : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
                     : "memory");
    return x0;
#else
#error "the pager is written for x86_64 and aarch64"
#endif
}

static inline long lp_call4(long number, long a, long b, long c, long d)
{
    return lp_call6(number, a, b, c, d, 0, 0);
}

/* A pointer that mmap returned is an error if it lies in the last page (as errno values do). */
static inline int lp_failed(const void *address)
{
    return (uintptr_t)address >= (uintptr_t)-4095;
}

static inline void *lp_mmap(size_t size, int protection, int flags)
{
    return (void *)lp_call6(SYS_mmap, 0, (long)size, protection, flags, -1, 0);
}

static inline long lp_munmap(void *address, size_t size)
{
    return lp_call4(SYS_munmap, (long)address, (long)size, 0, 0);
}

static inline long lp_mprotect(void *address, size_t size, int protection)
{
    return lp_call4(SYS_mprotect, (long)address, (long)size, protection, 0);
}

/* The kernel's signal set: bit (signal - 1). glibc's sigset_t begins with the same 64 bits. */
typedef uint64_t lp_mask;

static inline lp_mask lp_bit(int signal)
{
    return (lp_mask)1 << (signal - 1);
}

static inline long lp_sigmask(int how, const lp_mask *set, lp_mask *old)
{
    return lp_call4(SYS_rt_sigprocmask, how, (long)set, (long)old, sizeof(lp_mask));
}

/* Whether 8 bytes can be read there: the kernel reads a mask, but for NULL, before it looks at what
 * for. */
static inline bool lp_readable(uintptr_t address)
{
    return address != 0 && lp_sigmask(-1, (const lp_mask *)address, NULL) != -EFAULT;
}

/* Until it is woken, or for a moment: whoever should wake it may have died. */
static inline long lp_futex_wait(_Atomic uint32_t *word, uint32_t value)
{
    const struct timespec moment = {.tv_nsec = 50000000};
    return lp_call4(SYS_futex, (long)word, FUTEX_WAIT_PRIVATE, value, (long)&moment);
}

static inline long lp_futex_wake(_Atomic uint32_t *word, int count)
{
    return lp_call4(SYS_futex, (long)word, FUTEX_WAKE_PRIVATE, count, 0);
}

#endif
