/* Messages, from handlers too: no stdio, one write, one line. */
#include <string.h>
#include <sys/uio.h>

#include "pager.h"

#ifndef SYS_tgkill
#error "no tgkill"
#endif

void lp_say(const char *path, const char *what, const char *advice)
{
    struct iovec parts[7];
    const char *texts[] = {"layerpack: ", path, path ? ": " : NULL, what, "; ", advice, "\n"};
    for (int i = 0; i < 7; i++) {
        const char *text = texts[i] ? texts[i] : "";
        parts[i] = (struct iovec){.iov_base = (void *)text, .iov_len = strlen(text)};
    }
    /* One call, so that the lines of several processes do not mix. */
    lp_call4(SYS_writev, 2, (long)parts, 7, 0);
}

/* As the kernel takes it; SIG_DFL needs no restorer. */
struct kernel_action {
    void (*handler)(int);
    unsigned long flags;
    void (*restorer)(void);
    lp_mask mask;
};

_Noreturn void lp_die(const char *path, const char *what, const char *advice)
{
    /* The process of which a thread speaks. A child of fork has its parent's value, and the child
     * of vfork leaves its own behind: neither keeps another process from speaking. */
    static _Atomic uint32_t speaking;
    static const struct kernel_action by_default;
    lp_mask all = ~(lp_mask)0;
    lp_mask abort_only = lp_bit(SIGABRT);
    uint32_t process = (uint32_t)lp_call4(SYS_getpid, 0, 0, 0, 0);

    lp_sigmask(SIG_SETMASK, &all, NULL);
    if (atomic_exchange(&speaking, process) == process)
        for (;;)
            lp_futex_wait(&speaking, process);
    lp_say(path, what, advice);
    /* abort() would run the program's handler first, in a process that cannot run its own code. */
    lp_call4(SYS_rt_sigaction, SIGABRT, (long)&by_default, 0, sizeof(lp_mask));
    lp_sigmask(SIG_UNBLOCK, &abort_only, NULL);
    lp_call4(SYS_tgkill, lp_call4(SYS_getpid, 0, 0, 0, 0), lp_call4(SYS_gettid, 0, 0, 0, 0),
             SIGABRT, 0);
    for (;;)
        lp_call4(SYS_exit_group, 134, 0, 0, 0);
}

_Noreturn void lp_die_without(const char *path, enum lp_what what, long result)
{
    if (result == -ENOMEM)
        lp_die(path,
               what == LP_CODE ? "not enough memory to load its code"
                               : "not enough memory to load its data",
               LP_ADVICE_MEMORY);
    lp_die(path,
           what == LP_CODE ? "the system does not let its code be loaded"
                           : "the system does not let its data be loaded",
           LP_ADVICE_ALLOWED);
}
