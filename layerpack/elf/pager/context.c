/* The stacks that page-ins run on, each with its decompressor. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "pager.h"

/* zstd needs a few kilobytes; the rest costs address space alone. */
#define STACK_SIZE (64 * 1024)

static struct lp_context contexts[LP_CONTEXTS];

/* Calls work(argument) on the stack that ends at stack_top (below, in assembly). */
extern void lp_on_stack(void *stack_top, void (*work)(void *), void *argument);

void lp_contexts_start(void)
{
    size_t memory = (lp_inflate_memory() + LP_PAGE - 1) & ~(size_t)(LP_PAGE - 1);
    /* The page below each stack stays without rights: an overflow must not pass unseen. */
    size_t each = LP_PAGE + STACK_SIZE + memory;
    uint8_t *all =
        lp_mmap(each * LP_CONTEXTS, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
    if (lp_failed(all))
        lp_die(NULL, "not enough memory to start the pager", LP_ADVICE_MEMORY);
    for (size_t i = 0; i < LP_CONTEXTS; i++) {
        uint8_t *start = all + i * each;
        lp_mprotect(start, LP_PAGE, PROT_NONE);
        contexts[i].stack_top = start + LP_PAGE + STACK_SIZE;
        contexts[i].memory = start + LP_PAGE + STACK_SIZE;
        contexts[i].memory_size = memory;
    }
}

struct lp_context *lp_context_take(void)
{
    for (;;) {
        /* Read before looking: a context given back meanwhile changes it, so the wait returns. */
        uint32_t turn = atomic_load(&lp_shared->context_turn);
        for (size_t i = 0; i < LP_CONTEXTS; i++)
            if (lp_try(&lp_shared->contexts[i]))
                return &contexts[i];
        if (lp_futex_wait(&lp_shared->context_turn, turn) != -ETIMEDOUT)
            continue;
        for (size_t i = 0; i < LP_CONTEXTS; i++)
            if (lp_take_over(&lp_shared->contexts[i])) {
                /* Its decompressor was left in the middle of something. */
                contexts[i].decompressor = NULL;
                return &contexts[i];
            }
    }
}

void lp_context_give(struct lp_context *context)
{
    lp_give(&lp_shared->contexts[context - contexts]);
    atomic_fetch_add(&lp_shared->context_turn, 1);
    lp_futex_wake(&lp_shared->context_turn, 1);
}

struct work {
    void (*work)(void *);
    void *argument;
};

/* On a context's stack, with all signals blocked. SIGBUS, by which a truncated file is seen, must
 * not be delivered at the top of the program's alternate stack: the handler that led here has its
 * frame there, and the kernel sees that stack as unused while another one is. */
static void on_own_stack(void *argument)
{
    const struct work *work = argument;
    stack_t off = {.ss_flags = SS_DISABLE}, before;
    lp_mask blocked;
    lp_call4(SYS_sigaltstack, (long)&off, (long)&before, 0, 0);
    lp_let_bus_through(&blocked);
    work->work(work->argument);
    lp_sigmask(SIG_SETMASK, &blocked, NULL);
    if (!(before.ss_flags & SS_DISABLE))
        lp_call4(SYS_sigaltstack, (long)&before, 0, 0, 0);
}

void lp_context_run(struct lp_context *context, void (*work)(void *), void *argument)
{
    struct work job = {.work = work, .argument = argument};
    lp_on_stack(context->stack_top, on_own_stack, &job);
}

/* void lp_on_stack(void *stack_top, void (*work)(void *), void *argument) */
#if defined(__x86_64__)
__asm__(".text\n"
        ".hidden lp_on_stack\n"
        ".globl lp_on_stack\n"
        ".type lp_on_stack, @function\n"
        "lp_on_stack:\n"
        "    .cfi_startproc\n"
        "    pushq %rbp\n"
        "    .cfi_def_cfa_offset 16\n"
        "    .cfi_offset %rbp, -16\n"
        "    movq %rsp, %rbp\n"
        "    .cfi_def_cfa_register %rbp\n"
        "    movq %rdi, %rsp\n"
        "    movq %rdx, %rdi\n"
        "    callq *%rsi\n"
        "    movq %rbp, %rsp\n"
        "    popq %rbp\n"
        "    .cfi_def_cfa %rsp, 8\n"
        "    retq\n"
        "    .cfi_endproc\n"
        ".size lp_on_stack, . - lp_on_stack\n");
#elif defined(__aarch64__)
__asm__(".text\n"
        ".p2align 2\n"
        ".hidden lp_on_stack\n"
        ".globl lp_on_stack\n"
        ".type lp_on_stack, %function\n"
        "lp_on_stack:\n"
        "    .cfi_startproc\n"
        "    stp x29, x30, [sp, #-16]!\n"
        "    .cfi_def_cfa_offset 16\n"
        "    .cfi_offset x29, -16\n"
        "    .cfi_offset x30, -8\n"
        "    mov x29, sp\n"
        "    .cfi_def_cfa_register x29\n"
        "    mov sp, x0\n"
        "    mov x0, x2\n"
        "    blr x1\n"
        "    mov sp, x29\n"
        "    ldp x29, x30, [sp], #16\n"
        "    .cfi_def_cfa sp, 0\n"
        "    ret\n"
        "    .cfi_endproc\n"
        ".size lp_on_stack, . - lp_on_stack\n");
#endif
