/* Locks that a signal handler may take, and that a fork leaves free in the child. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "pager.h"

#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif

struct lp_shared *lp_shared;

/* pthread_atfork lies in libpthread's static part before glibc 2.34; this is what it calls. */
extern int __register_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void),
                             void *library);
extern void *__dso_handle;

/* Kernels before 4.14 know no MADV_WIPEONFORK. */
static bool is_wiped;

/* A thread that another fork handler of the child began may hold locks by now: where the kernel
 * wiped them, nothing is left to clear. */
static void clear_in_child(void)
{
    if (!is_wiped)
        memset(lp_shared, 0, sizeof *lp_shared);
    lp_shared->process = (uint32_t)lp_call4(SYS_getpid, 0, 0, 0, 0);
}

void lp_locks_start(void)
{
    void *memory =
        lp_mmap(sizeof *lp_shared, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
    if (lp_failed(memory))
        lp_die(NULL, "not enough memory to start the pager", LP_ADVICE_MEMORY);
    lp_shared = memory;
    /* Unlike fork handlers, this works for _Fork and for clone called directly, too. */
    is_wiped = lp_call4(SYS_madvise, (long)memory, sizeof *lp_shared, MADV_WIPEONFORK, 0) == 0;
    __register_atfork(NULL, NULL, clear_in_child, &__dso_handle);
    lp_shared->process = (uint32_t)lp_call4(SYS_getpid, 0, 0, 0, 0);
}

bool lp_in_vfork_child(void)
{
    uint32_t process = (uint32_t)lp_call4(SYS_getpid, 0, 0, 0, 0);
    if (lp_shared->process == 0)
        lp_shared->process = process;
    return lp_shared->process != process;
}

#define WAITED_FOR 0x80000000u

static uint32_t this_thread(void)
{
    return (uint32_t)lp_call4(SYS_gettid, 0, 0, 0, 0);
}

bool lp_try(lp_lock *lock)
{
    uint32_t expected = 0;
    return atomic_compare_exchange_strong_explicit(lock, &expected, this_thread(),
                                                   memory_order_acquire, memory_order_relaxed);
}

/* Whether a thread has ended, or is the child of vfork of this process and has: nobody may reap it
 * before who waits here. */
static bool is_gone(uint32_t thread)
{
    siginfo_t info = {.si_signo = 0};
    return lp_call4(SYS_tkill, thread, 0, 0, 0) == -ESRCH ||
           (lp_call6(SYS_waitid, P_PID, thread, (long)&info, WEXITED | WNOHANG | WNOWAIT | __WALL,
                     0, 0) == 0 && info.si_signo != 0);
}

bool lp_take_over(lp_lock *lock)
{
    uint32_t value = atomic_load(lock), holder = value & ~WAITED_FOR;
    return holder != 0 && is_gone(holder) &&
           atomic_compare_exchange_strong(lock, &value, this_thread() | WAITED_FOR);
}

void lp_take(lp_lock *lock)
{
    uint32_t thread = this_thread();
    if (lp_try(lock))
        return;
    for (;;) {
        uint32_t value = atomic_load_explicit(lock, memory_order_relaxed);
        if (value == 0) {
            /* Others may wait, too. */
            if (atomic_compare_exchange_strong_explicit(lock, &value, thread | WAITED_FOR,
                                                        memory_order_acquire,
                                                        memory_order_relaxed))
                return;
        } else if ((value & WAITED_FOR) ||
                   atomic_compare_exchange_strong(lock, &value, value | WAITED_FOR)) {
            if (lp_futex_wait(lock, value | WAITED_FOR) == -ETIMEDOUT && lp_take_over(lock))
                return;
        }
    }
}

void lp_give(lp_lock *lock)
{
    if (atomic_exchange_explicit(lock, 0, memory_order_release) & WAITED_FOR)
        lp_futex_wake(lock, 1);
}
