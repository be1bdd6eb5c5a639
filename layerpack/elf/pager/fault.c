/* The handler of SIGSEGV and SIGBUS: a missing page is brought in, all else is the program's. */
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

/* A fault on a page that is present is, once, another thread's page-in just finished. The same
 * instruction faulting again and again is genuine: a write where the kernel does not say so, or a
 * page whose rights the program took away. */
static bool again_and_again(uintptr_t address, uintptr_t place)
{
    static struct {
        uint32_t thread;
        uint32_t count;
        uintptr_t address, place;
    } seen[64];
    uint32_t thread = (uint32_t)lp_call4(SYS_gettid, 0, 0, 0, 0);
    /* Threads that share an entry at worst begin counting anew. */
    size_t slot = thread % 64;
    if (seen[slot].thread != thread || seen[slot].address != address ||
        seen[slot].place != place) {
        seen[slot].thread = thread;
        seen[slot].address = address;
        seen[slot].place = place;
        seen[slot].count = 0;
    }
    return ++seen[slot].count > 16;
}

/* Whether the instruction can be run again, its page being there now. */
static bool resolved(uintptr_t address, enum access access, uintptr_t place)
{
    struct lp_library *library = lp_find(address);
    if (library == NULL)
        return false;
    const struct lp_range *range = lp_range_at(library, address);
    if (range == NULL || access == ACCESS_WRITE ||
        (access == ACCESS_FETCH && !(range->flags & PF_X)))
        return false;
    uint32_t page =
        range->first_page + (uint32_t)((address - library->base - range->vaddr) / LP_PAGE);
    return lp_page_in(library, page) || !again_and_again(address, place);
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
    lp_call4(SYS_rt_tgsigqueueinfo, lp_call4(SYS_getpid, 0, 0, 0, 0),
             lp_call4(SYS_gettid, 0, 0, 0, 0), signal, (long)info);
    lp_sigmask(SIG_UNBLOCK, &bit, NULL);
}

/* Does what the kernel would have done with the program's own disposition. */
static void pass_on(int signal, siginfo_t *info, ucontext_t *context)
{
    /* By kill or raise, or, for memory that failed elsewhere, by the kernel: no instruction waits
     * to be run again. */
    bool sent = info->si_code <= 0 || (signal == SIGBUS && info->si_code == BUS_MCEERR_AO);
    struct lp_disposition wanted = lp_disposition_use(signal);
    lp_mask mask;
    memcpy(&mask, &context->uc_sigmask, sizeof mask);
    if (wanted.handler.simple == SIG_IGN && sent)
        return;
    /* A fault while its signal is ignored or blocked is deadly. */
    if (wanted.handler.simple == SIG_DFL || wanted.handler.simple == SIG_IGN ||
        (!sent && lp_mask_blocks(mask, signal))) {
        end_by(signal, info, sent);
        return;
    }
    lp_mask during = mask | lp_mask_for_kernel(wanted.mask);
    if (!(wanted.flags & SA_NODEFER))
        during |= lp_mask_for_kernel(lp_bit(signal));
    lp_sigmask(SIG_SETMASK, &during, NULL);
    wanted.handler.full(signal, info, context);

    /* The handler may have edited the mask that returning restores. */
    memcpy(&mask, &context->uc_sigmask, sizeof mask);
    mask = lp_mask_for_kernel(lp_mask_for_program(mask));
    memcpy(&context->uc_sigmask, &mask, sizeof mask);
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

static void install(int signal, void (*handler)(int, siginfo_t *, void *))
{
    struct sigaction action = {.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER}, before;
    lp_mask mask;
    action.sa_sigaction = handler;
    /* A handler of another signal must not interrupt a page-in: it may need the same page. */
    mask = ~(lp_bit(SIGSEGV) | lp_bit(SIGBUS) | lp_bit(SIGABRT) | lp_bit(SIGILL) |
             lp_bit(SIGFPE) | lp_bit(SIGTRAP));
    memcpy(&action.sa_mask, &mask, sizeof mask);
    sigaction(signal, NULL, &before);
    lp_disposition_start(signal, &before);
    sigaction(signal, &action, NULL);
}

void lp_fault_start(void)
{
    install(SIGSEGV, on_segv);
    install(SIGBUS, on_bus);
    lp_dispositions_mend();
}
