/* The handler of SIGSEGV and SIGBUS: a missing page is brought in, all else is the program's.
 *
 * Flags. SA_SIGINFO: the address and the code tell a missing page from all else. SA_ONSTACK: what
 * the program would handle on its alternate stack (a stack overflow) it handles there still.
 * SA_RESTART as the program's own disposition has it, for signals that somebody sends.
 *
 * Mask. All signals wait until the handler has returned: their handlers may touch code that is not
 * there, in this thread, which holds the window's lock. Only while a file is read is SIGBUS let
 * through, since a truncated one raises it; one that somebody sends then is sent again, blocked,
 * for when the handler returns (`defer`). What the program has blocked is read from the context,
 * and given to its handler.
 *
 * Stack. Up to the page-in the handler takes some 3 kB of the stack that it is called on, which
 * may be a small alternate one. Page-ins run on a stack of their own, with the alternate stack
 * switched off: a signal that arrived meanwhile would overwrite its top (context.c).
 *
 * Locks, in this order: a window's, a context's, the reserve's. The registry's is taken within the
 * loader's own lock and within none of ours; dispositions', and probes', within none and around
 * none. None is held while the program's handler runs.
 *
 * What may be called: system calls (sys.h), functions of libc that take no lock and no memory
 * (memcpy, strlen), and, for an address that is in no library known, dl_iterate_phdr within
 * pthread_mutex_trylock and pthread_mutex_unlock of the loader's lock (loader.c). Nothing that sets errno or is a cancellation
 * point, no stdio, no malloc, nothing of packed libraries. */
#include <string.h>
#include <ucontext.h>

#include "pager.h"

enum access { ACCESS_UNKNOWN, ACCESS_READ, ACCESS_WRITE, ACCESS_FETCH };

#if defined(__x86_64__)

/* Bits of the page fault's error code (Intel SDM, volume 3, 4.7). */
#define FAULT_WRITE 2
#define FAULT_FETCH 16

static enum access access_of(const ucontext_t *context)
{
    greg_t error = context->uc_mcontext.gregs[REG_ERR];
    if (error & FAULT_FETCH)
        return ACCESS_FETCH;
    return error & FAULT_WRITE ? ACCESS_WRITE : ACCESS_READ;
}

static uintptr_t place_of(const ucontext_t *context)
{
    return (uintptr_t)context->uc_mcontext.gregs[REG_RIP];
}

/* HLT is a general protection fault, which the kernel tells without an address. */
static bool left_out(const siginfo_t *info, ucontext_t *context)
{
    greg_t *registers = context->uc_mcontext.gregs;
    struct lp_call call = {
        .place = (uintptr_t)registers[REG_RIP],
        .arguments = {(uintptr_t)registers[REG_RDI], (uintptr_t)registers[REG_RSI]},
    };
    if (info->si_code != SI_KERNEL || !lp_left_out(&call))
        return false;
    registers[REG_RIP] = (greg_t)call.place;
    registers[REG_RDI] = (greg_t)call.arguments[0];
    return true;
}

#elif defined(__aarch64__)

/* struct esr_context of the kernel's asm/sigcontext.h, and the syndrome's fields (Arm ARM,
 * ESR_EL1): exception classes 20 and 21 are instruction aborts, 24 and 25 data aborts. */
#define ESR_RECORD 0x45535201u
#define SYNDROME_WRITE 0x40u

static enum access access_of(const ucontext_t *context)
{
    const uint8_t *records = (const uint8_t *)context->uc_mcontext.__reserved;
    size_t at = 0;
    while (at + 16 <= sizeof context->uc_mcontext.__reserved) {
        uint32_t magic, size;
        uint64_t syndrome;
        memcpy(&magic, records + at, 4);
        memcpy(&size, records + at + 4, 4);
        if (magic == ESR_RECORD) {
            memcpy(&syndrome, records + at + 8, 8);
            uint64_t class = syndrome >> 26 & 0x3F;
            if (class == 0x20 || class == 0x21)
                return ACCESS_FETCH;
            if (class == 0x24 || class == 0x25)
                return syndrome & SYNDROME_WRITE ? ACCESS_WRITE : ACCESS_READ;
            return ACCESS_UNKNOWN;
        }
        if (size < 16)
            break;
        at += size;
    }
    return ACCESS_UNKNOWN;
}

static uintptr_t place_of(const ucontext_t *context)
{
    return (uintptr_t)context->uc_mcontext.pc;
}

/* A jump to address 0, with x16 telling where from. */
static bool left_out(const siginfo_t *info, ucontext_t *context)
{
    unsigned long long *registers = context->uc_mcontext.regs;
    struct lp_call call = {.place = registers[16], .arguments = {registers[0], registers[1]}};
    if (info->si_addr != NULL || context->uc_mcontext.pc != 0 || !lp_left_out(&call))
        return false;
    context->uc_mcontext.pc = call.place;
    registers[0] = call.arguments[0];
    return true;
}

#endif

#define relaxed(value) atomic_load_explicit(&(value), memory_order_relaxed)
#define set_relaxed(value, to) atomic_store_explicit(&(value), (to), memory_order_relaxed)

/* A fault on a page that is present is, once, another thread's page-in just finished. The same
 * instruction faulting again and again is genuine: a write where the kernel does not say so, or a
 * page whose rights the program took away. */
bool lp_again_and_again(uintptr_t address, uintptr_t place)
{
    static struct {
        _Atomic uint32_t thread;
        _Atomic uint32_t count;
        _Atomic uintptr_t address, place;
    } seen[64];
    uint32_t thread = (uint32_t)lp_call4(SYS_gettid, 0, 0, 0, 0);
    /* Threads that share an entry at worst begin counting anew. */
    size_t slot = thread % 64;
    if (relaxed(seen[slot].thread) != thread || relaxed(seen[slot].address) != address ||
        relaxed(seen[slot].place) != place) {
        set_relaxed(seen[slot].thread, thread);
        set_relaxed(seen[slot].address, address);
        set_relaxed(seen[slot].place, place);
        set_relaxed(seen[slot].count, 0);
    }
    return atomic_fetch_add_explicit(&seen[slot].count, 1, memory_order_relaxed) >= 16;
}

/* Whether the instruction can be run again, its page being there now. */
static bool resolved(uintptr_t address, enum access access, uintptr_t place)
{
    /* No library lies at NULL: the loader is not asked, which may just be relocating one. */
    struct lp_library *library = address < LP_PAGE ? NULL : lp_find(address);
    if (library == NULL)
        return false;
    const struct lp_range *range = lp_range_at(library, address);
    const struct lp_block *block = range == NULL ? lp_block_at(library, address) : NULL;
    uint32_t flags = range != NULL ? range->flags : block != NULL ? block->flags : 0;
    if (flags == 0 || access == ACCESS_WRITE || (access == ACCESS_FETCH && !(flags & PF_X)))
        return false;
    /* Also before other code of it runs: that may be called before its constructors are, by another
     * library's. */
    bool loaded = lp_load_data(library, place);
    if (block != NULL)
        return loaded || !lp_again_and_again(address, place);
    uint32_t page =
        range->first_page + (uint32_t)((address - library->base - range->vaddr) / LP_PAGE);
    return lp_page_in(library, page) || !lp_again_and_again(address, place);
}

/* As the kernel takes it; SIG_DFL needs no restorer. */
struct kernel_action {
    void (*handler)(int);
    unsigned long flags;
    void (*restorer)(void);
    lp_mask mask;
};

/* Ends the process by `signal`: by running the faulting instruction again, so that registers and
 * address are its own, or where none faults by sending the signal once more. */
static void end_by(int signal, siginfo_t *info, bool sent)
{
    static const struct kernel_action by_default;
    lp_mask bit = lp_bit(signal);
    lp_call4(SYS_rt_sigaction, signal, (long)&by_default, 0, sizeof(lp_mask));
    if (!sent)
        return;
    lp_send_again(signal, info);
    lp_sigmask(SIG_UNBLOCK, &bit, NULL);
    /* Of the first process of a PID namespace: what is sent to it by default is ignored. */
    lp_fault_install(signal, false);
}

/* By kill or raise, or, for memory that failed elsewhere, by the kernel: no instruction waits to be
 * run again. */
static bool is_sent(int signal, const siginfo_t *info)
{
    return info->si_code <= 0 || (signal == SIGBUS && info->si_code == BUS_MCEERR_AO);
}

/* Whether our own handler was interrupted, while it let SIGBUS through. Its mask tells: with the
 * pager no program has SIGSEGV blocked (masks.c), and where glibc blocks it, it blocks all. */
static bool interrupts_ours(int signal, const ucontext_t *context)
{
    lp_mask mask;
    memcpy(&mask, &context->uc_sigmask, sizeof mask);
    return signal == SIGBUS && (mask & lp_bit(SIGSEGV)) && !(mask & lp_bit(SIGBUS));
}

/* Sends a signal once more, to arrive when the handler that was interrupted returns. */
static void defer(int signal, const siginfo_t *info, ucontext_t *context)
{
    lp_mask mask, bit = lp_bit(signal);
    lp_send_again(signal, info);
    memcpy(&mask, &context->uc_sigmask, sizeof mask);
    mask |= bit;
    memcpy(&context->uc_sigmask, &mask, sizeof mask);
}

/* Does what the kernel would have done with the program's own disposition. */
static void pass_on(int signal, siginfo_t *info, ucontext_t *context)
{
    lp_mask all = ~(lp_mask)0;
    bool sent = is_sent(signal, info);
    if (sent && interrupts_ours(signal, context)) {
        defer(signal, info, context);
        return;
    }
    lp_mask mask;
    memcpy(&mask, &context->uc_sigmask, sizeof mask);
    if (sent && lp_mask_blocks(mask, signal) && lp_hold(signal, info))
        return;
    struct lp_disposition wanted = lp_disposition_use(signal);
    if (wanted.handler.simple == SIG_IGN && sent)
        return;
    /* A fault while its signal is ignored or blocked is deadly. */
    if (wanted.handler.simple == SIG_DFL || wanted.handler.simple == SIG_IGN ||
        (!sent && lp_mask_blocks(mask, signal))) {
        end_by(signal, info, sent);
        return;
    }
    lp_mask during = lp_mask_in_handler(mask) | lp_mask_for_kernel(wanted.mask);
    if (!(wanted.flags & SA_NODEFER))
        during |= lp_mask_for_kernel(lp_bit(signal));
    lp_sigmask(SIG_SETMASK, &during, NULL);
    wanted.handler.full(signal, info, context);

    /* The handler may have edited the mask that returning restores. */
    memcpy(&mask, &context->uc_sigmask, sizeof mask);
    mask = lp_mask_for_kernel(lp_mask_for_program(mask));
    memcpy(&context->uc_sigmask, &mask, sizeof mask);
    /* As from the kernel, they arrive when this handler has returned. All signals are blocked until
     * then: another one's handler would inherit that these two are. */
    lp_sigmask(SIG_SETMASK, &all, NULL);
    lp_release(mask);
}

static void on_segv(int signal, siginfo_t *info, void *context)
{
    uintptr_t address = (uintptr_t)info->si_addr;
    bool by_access = info->si_code == SEGV_MAPERR || info->si_code == SEGV_ACCERR;
    if (left_out(info, context))
        return;
    if (!by_access || !resolved(address, access_of(context), place_of(context)))
        pass_on(signal, info, context);
}

static void on_bus(int signal, siginfo_t *info, void *context)
{
    uintptr_t address = (uintptr_t)info->si_addr;
    if (info->si_code == BUS_ADRERR) {
        const char *path = lp_being_read(address);
        if (path == NULL) {
            struct lp_library *library = lp_find(address);
            path = library != NULL ? library->path : NULL;
        }
        if (path != NULL)
            lp_die(path, "the file is truncated, or cannot be read", LP_ADVICE_DAMAGED);
    }
    pass_on(signal, info, context);
}

void lp_fault_install(int signal, bool restarts)
{
    struct sigaction action = {.sa_flags = SA_SIGINFO | SA_ONSTACK};
    lp_mask mask = ~(lp_mask)0;
    action.sa_sigaction = signal == SIGSEGV ? on_segv : on_bus;
    if (restarts)
        action.sa_flags |= SA_RESTART;
    memcpy(&action.sa_mask, &mask, sizeof mask);
    sigaction(signal, &action, NULL);
}

void lp_fault_start(void)
{
    lp_disposition_start(SIGSEGV);
    lp_disposition_start(SIGBUS);
    lp_dispositions_mend();
}
