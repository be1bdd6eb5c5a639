/* Signal masks: SIGSEGV and SIGBUS are never blocked for the kernel, which would kill a thread
 * that then touches code that is not there yet.
 *
 * A program that blocks them has two other signals blocked in their stead, SIGSTKFLT (which
 * nothing on Linux sends) and the last but two of the real-time signals. So the kernel keeps the
 * program's wish, for each thread, through fork, sigreturn and siglongjmp, where no memory of
 * ours could follow it. The two cannot be blocked for themselves: "all but SIGSEGV", which programs
 * ask for often, would look like all. */
#include <errno.h>
#include <string.h>

#include "pager.h"

#define INSTEAD_OF_SEGV 16 /* SIGSTKFLT */
#define INSTEAD_OF_BUS 62

/* glibc's own (SIGCANCEL, SIGSETXID); its functions never block them either. */
#define LIBC_SIGNALS (lp_bit(32) | lp_bit(33))

lp_mask lp_mask_for_kernel(lp_mask asked)
{
    lp_mask real = asked & ~(lp_bit(SIGSEGV) | lp_bit(INSTEAD_OF_SEGV) | lp_bit(SIGBUS) |
                             lp_bit(INSTEAD_OF_BUS));
    if (asked & lp_bit(SIGSEGV))
        real |= lp_bit(INSTEAD_OF_SEGV);
    if (asked & lp_bit(SIGBUS))
        real |= lp_bit(INSTEAD_OF_BUS);
    return real;
}

lp_mask lp_mask_for_program(lp_mask real)
{
    lp_mask seen = real & ~(lp_bit(INSTEAD_OF_SEGV) | lp_bit(INSTEAD_OF_BUS));
    if (lp_mask_blocks(real, SIGSEGV))
        seen |= lp_bit(SIGSEGV);
    if (lp_mask_blocks(real, SIGBUS))
        seen |= lp_bit(SIGBUS);
    return seen;
}

bool lp_mask_blocks(lp_mask real, int signal)
{
    return (real & lp_bit(signal == SIGSEGV ? INSTEAD_OF_SEGV : INSTEAD_OF_BUS)) != 0;
}

lp_mask lp_mask_while_waiting(lp_mask real)
{
    return ~(lp_mask)0 & ~(~real & (lp_bit(INSTEAD_OF_SEGV) | lp_bit(INSTEAD_OF_BUS)));
}

lp_mask lp_mask_in_handler(lp_mask found)
{
    return found & ~(lp_bit(SIGSEGV) | lp_bit(SIGBUS));
}

void lp_let_bus_through(lp_mask *before)
{
    lp_mask bus = lp_bit(SIGBUS);
    lp_sigmask(SIG_UNBLOCK, &bus, before);
}

void lp_masks_start(void)
{
    /* A process may begin with them blocked: a mask outlives exec. So does what stands in their
     * stead, in a program that this one ran. */
    lp_mask mask;
    lp_sigmask(SIG_BLOCK, NULL, &mask);
    mask = lp_mask_for_kernel(lp_mask_for_program(mask));
    lp_sigmask(SIG_SETMASK, &mask, NULL);
}

/* 0, or an errno value. */
LP_EXPORT int layerpack_pthread_sigmask(int how, const sigset_t *set, sigset_t *old)
{
    lp_mask asked, before;
    long result;
    if (set != NULL) {
        memcpy(&asked, set, sizeof asked);
        asked = lp_mask_for_kernel(asked);
        if (how != SIG_UNBLOCK)
            asked &= ~LIBC_SIGNALS;
    }
    result = lp_sigmask(how, set != NULL ? &asked : NULL, &before);
    if (result < 0)
        return (int)-result;
    if (set != NULL && how != SIG_BLOCK)
        lp_release(how == SIG_SETMASK ? asked : before & ~asked);
    if (old != NULL) {
        before = lp_mask_for_program(before);
        /* As glibc does: the rest of the set, beyond the kernel's signals, is left alone. */
        memcpy(old, &before, sizeof before);
    }
    return 0;
}

LP_EXPORT int layerpack_sigprocmask(int how, const sigset_t *set, sigset_t *old)
{
    int problem = layerpack_pthread_sigmask(how, set, old);
    if (problem == 0)
        return 0;
    errno = problem;
    return -1;
}
