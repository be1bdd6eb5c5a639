/* SIGSEGV and SIGBUS that somebody sends to a thread while the program blocks them there.
 *
 * The kernel delivers them all the same (see masks.c). They are held here, one of each kind for a
 * thread as the kernel would, until a signal function of ours unblocks them or waits for them, or
 * the program's handler that blocked them returns. What is unblocked in another way (siglongjmp)
 * stays held until then. */
#include <errno.h>
#include <string.h>

#include "pager.h"

static struct held {
    _Atomic uint32_t thread;      /* 0: nobody's */
    bool segv, bus;               /* the thread's own from here on, in handlers or not: with all */
    siginfo_t segv_info, bus_info; /* signals blocked */
} all_held[64];
/* How many entries were taken ever: most programs never need one. */
static _Atomic uint32_t used;

static struct held *held_of(uint32_t thread)
{
    uint32_t count = atomic_load(&used);
    for (uint32_t i = 0; i < count && i < 64; i++)
        if (atomic_load(&all_held[i].thread) == thread)
            return &all_held[i];
    return NULL;
}

static struct held *take(uint32_t thread)
{
    struct held *held = held_of(thread);
    for (uint32_t i = 0; held == NULL && i < 64; i++) {
        uint32_t owner = atomic_load(&all_held[i].thread);
        if (owner != 0 && lp_call4(SYS_tkill, owner, 0, 0, 0) != -ESRCH)
            continue;
        if (!atomic_compare_exchange_strong(&all_held[i].thread, &owner, thread))
            continue;
        held = &all_held[i];
        held->segv = held->bus = false;
        for (uint32_t most = atomic_load(&used);
             most <= i && !atomic_compare_exchange_weak(&used, &most, i + 1);)
            ;
    }
    return held;
}

bool lp_hold(int signal, const siginfo_t *info)
{
    lp_mask all = ~(lp_mask)0, before;
    lp_sigmask(SIG_SETMASK, &all, &before);
    struct held *held = take((uint32_t)lp_call4(SYS_gettid, 0, 0, 0, 0));
    if (held != NULL) {
        bool *is_held = signal == SIGSEGV ? &held->segv : &held->bus;
        if (!*is_held)
            memcpy(signal == SIGSEGV ? &held->segv_info : &held->bus_info, info, sizeof *info);
        *is_held = true;
    }
    lp_sigmask(SIG_SETMASK, &before, NULL);
    return held != NULL;
}

void lp_send_again(int signal, const siginfo_t *info)
{
    lp_call4(SYS_rt_tgsigqueueinfo, lp_call4(SYS_getpid, 0, 0, 0, 0),
             lp_call4(SYS_gettid, 0, 0, 0, 0), signal, (long)info);
}

/* Sends what is held for this thread and not blocked by a mask; all signals are blocked now. */
static void send_held(lp_mask real)
{
    struct held *held = held_of((uint32_t)lp_call4(SYS_gettid, 0, 0, 0, 0));
    if (held == NULL)
        return;
    if (held->segv && !lp_mask_blocks(real, SIGSEGV)) {
        held->segv = false;
        lp_send_again(SIGSEGV, &held->segv_info);
    }
    if (held->bus && !lp_mask_blocks(real, SIGBUS)) {
        held->bus = false;
        lp_send_again(SIGBUS, &held->bus_info);
    }
    if (!held->segv && !held->bus)
        atomic_store(&held->thread, 0);
}

void lp_release(lp_mask real)
{
    lp_mask all = ~(lp_mask)0, before;
    if (atomic_load(&used) == 0)
        return;
    lp_sigmask(SIG_SETMASK, &all, &before);
    send_held(real);
    lp_sigmask(SIG_SETMASK, &before, NULL);
}

/* All signals wait for the call, whose mask lets through what it lets through. The mask that is to be
 * restored, which a handler finds in its context, tells by what stands instead of SIGSEGV and
 * SIGBUS that the program does not block them now. */
void lp_wait_begins(const sigset_t *set, struct lp_wait *wait)
{
    lp_mask all = ~(lp_mask)0, mask;
    wait->blocked = false;
    if (set == NULL)
        return;
    memcpy(&mask, set, sizeof mask);
    lp_sigmask(SIG_SETMASK, &all, &wait->before);
    wait->blocked = true;
    send_held(mask);
    all = lp_mask_while_waiting(mask);
    lp_sigmask(SIG_SETMASK, &all, NULL);
}

int lp_wait_ended(const struct lp_wait *wait, int result)
{
    if (wait->blocked)
        lp_sigmask(SIG_SETMASK, &wait->before, NULL);
    return result;
}
