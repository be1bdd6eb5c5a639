/* What the program wants done on SIGSEGV and SIGBUS, and the functions by which it says so.
 *
 * The kernel keeps our handler for these two, whatever the program asks; what it asked is kept
 * here, given back when it asks, and done when a fault is not about a missing page. */
#include <errno.h>
#include <string.h>
#include <sys/auxv.h>

#include "pager.h"

#ifndef AT_MINSIGSTKSZ
#define AT_MINSIGSTKSZ 51
#endif

/* MINSIGSTKSZ of the kernel's asm/signal.h: the smallest stack that it takes. glibc's macro of that
 * name is no constant since 2.34 (it asks for AT_MINSIGSTKSZ). */
#ifdef __aarch64__
#define SMALLEST_STACK 5120
#else
#define SMALLEST_STACK 2048
#endif

extern sighandler_t __sysv_signal(int signal, sighandler_t handler);

/* Under the lock of dispositions. */
static struct lp_disposition dispositions[2];

/* Whether handlers that signal() sets interrupt system calls; in the order of `dispositions`. */
static _Atomic bool interrupting[2];

static struct lp_disposition *kept(int signal)
{
    if (signal == SIGSEGV)
        return &dispositions[0];
    return signal == SIGBUS ? &dispositions[1] : NULL;
}

static struct lp_disposition disposition_of(const struct sigaction *action)
{
    struct lp_disposition result = {.flags = action->sa_flags};
    result.handler.simple = action->sa_handler;
    memcpy(&result.mask, &action->sa_mask, sizeof result.mask);
    return result;
}

/* Handlers that were there before us block what the program asked for while they run; they may call
 * code that is not there yet. */
void lp_dispositions_mend(void)
{
    for (int signal = 1; signal <= 64; signal++) {
        struct sigaction action;
        lp_mask mask, real;
        if (kept(signal) != NULL || sigaction(signal, NULL, &action) != 0 ||
            action.sa_handler == SIG_DFL || action.sa_handler == SIG_IGN)
            continue;
        memcpy(&mask, &action.sa_mask, sizeof mask);
        real = lp_mask_for_kernel(lp_mask_for_program(mask));
        if (real == mask)
            continue;
        memcpy(&action.sa_mask, &real, sizeof real);
        sigaction(signal, &action, NULL);
    }
}

static bool handled(const struct lp_disposition *disposition)
{
    return disposition->handler.simple != SIG_DFL && disposition->handler.simple != SIG_IGN;
}

/* Whether system calls that the signal interrupts go on after it. A signal that is ignored would
 * interrupt none. */
static bool restarts(const struct lp_disposition *disposition)
{
    return disposition->handler.simple == SIG_IGN ||
           (handled(disposition) && (disposition->flags & SA_RESTART));
}

void lp_disposition_start(int signal)
{
    struct sigaction before;
    sigaction(signal, NULL, &before);
    *kept(signal) = disposition_of(&before);
    lp_fault_install(signal, restarts(kept(signal)));
}

/* The old disposition; `new` takes its place, unless it is NULL. With `use`, a handler with
 * SA_RESETHAND gives way to the default: one step, so that of two threads one takes the handler.
 * Signals are blocked while the lock is held: a handler might want it, in this same thread. */
static struct lp_disposition exchange(int signal, const struct lp_disposition *new, bool use)
{
    lp_mask all = ~(lp_mask)0, before;
    struct lp_disposition old, reset;
    lp_sigmask(SIG_SETMASK, &all, &before);
    lp_take(&lp_shared->dispositions);
    old = *kept(signal);
    if (use && handled(&old) && (old.flags & (int)SA_RESETHAND)) {
        reset = old;
        reset.handler.simple = SIG_DFL;
        new = &reset;
    }
    /* The child of vfork has a table of its own in the kernel, but this one is its parent's. It
     * is about to call exec, which resets handlers anyway. */
    if (new != NULL && !lp_in_vfork_child()) {
        *kept(signal) = *new;
        if (restarts(new) != restarts(&old))
            lp_fault_install(signal, restarts(new));
    }
    lp_give(&lp_shared->dispositions);
    lp_sigmask(SIG_SETMASK, &before, NULL);
    return old;
}

struct lp_disposition lp_disposition_use(int signal)
{
    return exchange(signal, NULL, true);
}

LP_EXPORT int layerpack_sigaction(int signal, const struct sigaction *action,
                                  struct sigaction *old)
{
    lp_mask mask;
    if (kept(signal) == NULL) {
        struct sigaction changed;
        if (action != NULL) {
            changed = *action;
            memcpy(&mask, &changed.sa_mask, sizeof mask);
            mask = lp_mask_for_kernel(mask);
            memcpy(&changed.sa_mask, &mask, sizeof mask);
        }
        int result = sigaction(signal, action != NULL ? &changed : NULL, old);
        if (result == 0 && old != NULL) {
            memcpy(&mask, &old->sa_mask, sizeof mask);
            mask = lp_mask_for_program(mask);
            memcpy(&old->sa_mask, &mask, sizeof mask);
        }
        return result;
    }

    struct lp_disposition new, before;
    if (action != NULL)
        new = disposition_of(action);
    before = exchange(signal, action != NULL ? &new : NULL, false);
    if (old != NULL) {
        memset(old, 0, sizeof *old);
        old->sa_handler = before.handler.simple;
        old->sa_flags = before.flags;
        memcpy(&old->sa_mask, &before.mask, sizeof before.mask);
    }
    return 0;
}

/* `mask_itself`: whether the signal is blocked while its handler runs. */
static sighandler_t set_handler(int signal, sighandler_t handler, int flags, bool mask_itself)
{
    struct lp_disposition new = {.flags = flags, .mask = mask_itself ? lp_bit(signal) : 0};
    if (handler == SIG_ERR) {
        errno = EINVAL;
        return SIG_ERR;
    }
    new.handler.simple = handler;
    return exchange(signal, &new, false).handler.simple;
}

LP_EXPORT sighandler_t layerpack_signal(int number, sighandler_t handler)
{
    if (kept(number) == NULL)
        return signal(number, handler);
    bool interrupts = atomic_load(&interrupting[number == SIGBUS]);
    return set_handler(number, handler, interrupts ? 0 : SA_RESTART, true);
}

LP_EXPORT int layerpack_siginterrupt(int number, int interrupts)
{
    if (kept(number) == NULL)
        return siginterrupt(number, interrupts);
    struct sigaction action;
    atomic_store(&interrupting[number == SIGBUS], interrupts != 0);
    layerpack_sigaction(number, NULL, &action);
    action.sa_flags = interrupts ? action.sa_flags & ~SA_RESTART : action.sa_flags | SA_RESTART;
    return layerpack_sigaction(number, &action, NULL);
}

LP_EXPORT sighandler_t layerpack_bsd_signal(int number, sighandler_t handler)
{
    return layerpack_signal(number, handler);
}

LP_EXPORT sighandler_t layerpack_ssignal(int number, sighandler_t handler)
{
    return layerpack_signal(number, handler);
}

LP_EXPORT sighandler_t layerpack_sysv_signal(int number, sighandler_t handler)
{
    if (kept(number) == NULL)
        return __sysv_signal(number, handler);
    return set_handler(number, handler, (int)SA_RESETHAND | SA_NODEFER, false);
}

LP_EXPORT sighandler_t layerpack_sigset(int number, sighandler_t handler)
{
    lp_mask bit, before;
    sighandler_t old;
    if (kept(number) == NULL)
        return sigset(number, handler);
    bit = lp_mask_for_kernel(lp_bit(number));
    lp_sigmask(handler == SIG_HOLD ? SIG_BLOCK : SIG_UNBLOCK, &bit, &before);
    if (handler == SIG_HOLD)
        old = exchange(number, NULL, false).handler.simple;
    else
        old = set_handler(number, handler, 0, false);
    if (handler != SIG_HOLD)
        lp_release(before & ~bit);
    return lp_mask_blocks(before, number) ? SIG_HOLD : old;
}

/* The kernel kills a thread whose alternate stack is too small for a signal frame, and since our
 * handler runs on it, a stack that was enough for the program's own may not be. A small one is
 * not set: handlers then run on the thread's own stack. */
LP_EXPORT int layerpack_sigaltstack(const stack_t *stack, stack_t *old)
{
    static const size_t needed_by_handler = 4096;
    unsigned long frame = getauxval(AT_MINSIGSTKSZ);
    if (frame == 0)
        frame = SMALLEST_STACK;
    if (stack != NULL && !(stack->ss_flags & SS_DISABLE) &&
        stack->ss_size >= SMALLEST_STACK && stack->ss_size < frame + needed_by_handler)
        stack = NULL;
    return sigaltstack(stack, old);
}
