/* Other ways to a signal mask: calls that set one while they wait, contexts, attributes of threads,
 * and the interfaces of BSD and System V. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <ucontext.h>

#include "pager.h"

#define LOW_SIGNALS 0xffffffffu

/* Not in glibc 2.17, that this is compiled for: there where the program has them. */
extern int pthread_attr_setsigmask_np(pthread_attr_t *attributes, const sigset_t *set)
    __attribute__((weak));
extern int epoll_pwait2(int file, struct epoll_event *events, int count,
                        const struct timespec *time, const sigset_t *set) __attribute__((weak));
/* What pthread_cleanup_push calls lies in libpthread before glibc 2.34, as threads do. */
extern __typeof(__pthread_register_cancel) __pthread_register_cancel __attribute__((weak));
extern __typeof(__pthread_unregister_cancel) __pthread_unregister_cancel __attribute__((weak));
extern __typeof(__pthread_unwind_next) __pthread_unwind_next __attribute__((weak));
extern int __ppoll_chk(struct pollfd *files, nfds_t count, const struct timespec *time,
                       const sigset_t *set, size_t size);

/* A call of libc that waits, with `set` as its mask. All of these are cancellation points: a thread
 * that is cancelled there ends by functions of the program's, which may be packed. */
#define WAITING(set, call) \
    ({ \
        struct lp_wait wait_; \
        int result_; \
        lp_wait_begins(set, &wait_); \
        if (__pthread_register_cancel == NULL) { \
            result_ = call; \
        } else { \
            pthread_cleanup_push(is_cancelled, &wait_); \
            result_ = call; \
            pthread_cleanup_pop(0); \
        } \
        lp_wait_ended(&wait_, result_); \
    })

static void is_cancelled(void *wait)
{
    lp_wait_ended(wait, 0);
}

/* `set` as the kernel is to have it, in `copy`; NULL stays NULL. */
static const sigset_t *for_kernel(const sigset_t *set, sigset_t *copy)
{
    lp_mask mask;
    if (set == NULL)
        return NULL;
    memcpy(&mask, set, sizeof mask);
    mask = lp_mask_for_kernel(mask);
    sigemptyset(copy);
    memcpy(copy, &mask, sizeof mask);
    return copy;
}

LP_EXPORT int layerpack_ppoll(struct pollfd *files, nfds_t count, const struct timespec *time,
                              const sigset_t *set)
{
    sigset_t copy;
    set = for_kernel(set, &copy);
    return WAITING(set, ppoll(files, count, time, set));
}

LP_EXPORT int layerpack_ppoll_chk(struct pollfd *files, nfds_t count, const struct timespec *time,
                                  const sigset_t *set, size_t size)
{
    sigset_t copy;
    set = for_kernel(set, &copy);
    return WAITING(set, __ppoll_chk(files, count, time, set, size));
}

LP_EXPORT int layerpack_pselect(int count, fd_set *reads, fd_set *writes, fd_set *others,
                                const struct timespec *time, const sigset_t *set)
{
    sigset_t copy;
    set = for_kernel(set, &copy);
    return WAITING(set, pselect(count, reads, writes, others, time, set));
}

LP_EXPORT int layerpack_epoll_pwait(int file, struct epoll_event *events, int count, int time,
                                    const sigset_t *set)
{
    sigset_t copy;
    set = for_kernel(set, &copy);
    return WAITING(set, epoll_pwait(file, events, count, time, set));
}

LP_EXPORT int layerpack_epoll_pwait2(int file, struct epoll_event *events, int count,
                                     const struct timespec *time, const sigset_t *set)
{
    /* A program that asks whether glibc (2.35) has it finds ours: without it, to the millisecond. */
    static const long longest = 1000000;
    sigset_t copy;
    set = for_kernel(set, &copy);
    if (epoll_pwait2 != NULL)
        return WAITING(set, epoll_pwait2(file, events, count, time, set));
    int milliseconds = -1;
    if (time != NULL)
        milliseconds = (int)((time->tv_sec < longest ? time->tv_sec : longest) * 1000 +
                             (time->tv_nsec + 999999) / 1000000);
    return WAITING(set, epoll_pwait(file, events, count, milliseconds, set));
}

LP_EXPORT int layerpack_pthread_attr_setsigmask_np(pthread_attr_t *attributes,
                                                   const sigset_t *set)
{
    sigset_t copy;
    /* A program that asks whether glibc has it finds ours. */
    if (pthread_attr_setsigmask_np == NULL)
        return ENOSYS;
    return pthread_attr_setsigmask_np(attributes, for_kernel(set, &copy));
}

/* What a program put into a context; what getcontext put there is as the kernel has it. */
static void mend(const ucontext_t *context)
{
    lp_mask mask;
    memcpy(&mask, &context->uc_sigmask, sizeof mask);
    mask = lp_mask_for_kernel(lp_mask_for_program(mask));
    memcpy((void *)(uintptr_t)&context->uc_sigmask, &mask, sizeof mask);
}

LP_EXPORT int layerpack_setcontext(const ucontext_t *context)
{
    mend(context);
    return setcontext(context);
}

LP_EXPORT int layerpack_swapcontext(ucontext_t *old, const ucontext_t *context)
{
    mend(context);
    return swapcontext(old, context);
}

/* The first 32 signals, bit 0 for the first; the mask as the program sees it. */
static int change_low(int how, unsigned mask)
{
    lp_mask before, after;
    lp_sigmask(SIG_BLOCK, NULL, &before);
    before = lp_mask_for_program(before);
    after = how == SIG_BLOCK ? before | mask : mask;
    after = lp_mask_for_kernel(after);
    lp_sigmask(SIG_SETMASK, &after, NULL);
    lp_release(after);
    return (int)(before & LOW_SIGNALS);
}

LP_EXPORT int layerpack_sigblock(int mask)
{
    return change_low(SIG_BLOCK, (unsigned)mask);
}

LP_EXPORT int layerpack_sigsetmask(int mask)
{
    return change_low(SIG_SETMASK, (unsigned)mask);
}

LP_EXPORT int layerpack_siggetmask(void)
{
    return change_low(SIG_BLOCK, 0);
}

static int change_one(int how, int signal)
{
    lp_mask mask, before;
    if (signal < 1 || signal > 64) {
        errno = EINVAL;
        return -1;
    }
    mask = lp_mask_for_kernel(lp_bit(signal));
    lp_sigmask(how, &mask, &before);
    if (how == SIG_UNBLOCK)
        lp_release(before & ~mask);
    return 0;
}

LP_EXPORT int layerpack_sighold(int signal)
{
    return change_one(SIG_BLOCK, signal);
}

LP_EXPORT int layerpack_sigrelse(int signal)
{
    return change_one(SIG_UNBLOCK, signal);
}

extern int layerpack_sigaction(int signal, const struct sigaction *action, struct sigaction *old);

LP_EXPORT int layerpack_sigignore(int signal)
{
    struct sigaction action = {.sa_handler = SIG_IGN};
    return layerpack_sigaction(signal, &action, NULL);
}

static int wait_with(lp_mask mask)
{
    sigset_t set;
    mask = lp_mask_for_kernel(mask);
    sigemptyset(&set);
    memcpy(&set, &mask, sizeof mask);
    return WAITING(&set, sigsuspend(&set));
}

LP_EXPORT int layerpack_sigsuspend(const sigset_t *set)
{
    lp_mask mask;
    memcpy(&mask, set, sizeof mask);
    return wait_with(mask);
}

/* BSD's: the mask while it waits. */
LP_EXPORT int layerpack_sigpause(int mask)
{
    return wait_with((unsigned)mask);
}

/* X/Open's, which <signal.h> calls sigpause as well: a signal to take from the mask. */
LP_EXPORT int layerpack_xpg_sigpause(int signal)
{
    lp_mask mask;
    if (signal < 1 || signal > 64) {
        errno = EINVAL;
        return -1;
    }
    lp_sigmask(SIG_BLOCK, NULL, &mask);
    return wait_with(lp_mask_for_program(mask) & ~lp_bit(signal));
}

/* glibc's own name for both: `is_signal` says which of the two it is. */
LP_EXPORT int layerpack_sigpause_either(int signal_or_mask, int is_signal)
{
    return is_signal ? layerpack_xpg_sigpause(signal_or_mask) : layerpack_sigpause(signal_or_mask);
}
