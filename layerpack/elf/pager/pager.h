/* What the pager's parts share. Everything is hidden but what is marked LP_EXPORT. */
#ifndef LAYERPACK_PAGER_H
#define LAYERPACK_PAGER_H

#include <link.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "format.h"
#include "sys.h"

#define LP_EXPORT __attribute__((visibility("default")))

/* ---- locks (locks.c) ---- */

/* 0 free, 1 held, 2 held and waited for. They live in memory that the kernel clears in a forked
 * child, where their holders do not exist. Hold them only with signals blocked: a handler that
 * interrupts its own thread's work would wait for itself. */
typedef _Atomic uint32_t lp_lock;

#define LP_WINDOW_LOCKS 1024
#define LP_ASKING 64
#define LP_CONTEXTS 8

struct lp_shared {
    uint32_t process;             /* who filled this in; 0 in a forked child until it asks */
    lp_lock registry;             /* taken inside the loader's own lock, never around it */
    lp_lock dispositions;
    lp_lock reserve;
    lp_lock probes;
    _Atomic uint32_t context_turn; /* counts the contexts given back; the waiters' futex */
    _Atomic uint32_t asking[LP_ASKING]; /* threads that ask the loader, by their number's hash */
    lp_lock contexts[LP_CONTEXTS];
    lp_lock windows[LP_WINDOW_LOCKS]; /* by hash; two windows that share one merely queue */
};

extern struct lp_shared *lp_shared;

void lp_locks_start(void);
void lp_take(lp_lock *lock);
bool lp_try(lp_lock *lock);
void lp_give(lp_lock *lock);
/* Whether this is the child of vfork: it shares its parent's memory, but not its dispositions. */
bool lp_in_vfork_child(void);

/* ---- contexts (context.c) ---- */

/* A stack and a decompressor. A fault may arrive on an alternate signal stack of few kilobytes. */
struct lp_context {
    void *stack_top;
    void *memory;                 /* for the decompressor */
    size_t memory_size;
    void *decompressor;           /* NULL until it is first used */
};

void lp_contexts_start(void);
/* Waits until one is free. */
struct lp_context *lp_context_take(void);
void lp_context_give(struct lp_context *context);
/* Calls work(argument) on the stack that ends at stack_top. */
void lp_on_stack(void *stack_top, void (*work)(void *), void *argument);

/* ---- packed libraries (registry.c) ---- */

struct lp_library {
    uintptr_t base;
    uintptr_t low, high;          /* all it maps */
    const char *path;             /* the loader's name of it, or else the index's */
    const struct lp_index *index;
    const struct lp_range *ranges;
    const uint32_t *pages;
    const struct lp_window *windows;
    const struct lp_run *runs;
    const uint8_t *frames;
    const struct lp_drops *drops; /* NULL where nothing was left out */
    _Atomic(const struct lp_table *) table; /* NULL until it is first asked for */
    _Atomic uint8_t *present;     /* by window; by page where pages are recorded */
};

/* The library that maps an address, NULL if it is none of the known. */
struct lp_library *lp_known(uintptr_t address);
/* The same, but asks the loader too (unless this thread is doing so: then the loader's own memory
 * is broken, and to ask again would never end). */
struct lp_library *lp_find(uintptr_t address);
/* Learns the libraries that are loaded; called by the constructor. */
void lp_registry_start(void);
/* The path of the library whose index is being read just now, if it maps this address. */
const char *lp_being_read(uintptr_t address);
/* The range of a page's address, NULL where nothing is paged. */
const struct lp_range *lp_range_at(const struct lp_library *library, uintptr_t address);
const struct lp_range *lp_range_of_page(const struct lp_library *library, uint32_t page);

/* ---- page-in (page_in.c, inflate.c, filter.c) ---- */

/* Makes a page present. False if it already was. Does not return where it cannot be done. */
bool lp_page_in(struct lp_library *library, uint32_t page);
void lp_page_in_start(void);

size_t lp_inflate_memory(void);
/* Prepares a decompressor in `memory`; NULL if it does not fit. */
void *lp_inflate_start(void *memory, size_t size);
/* Whether `from` is a sound zstd frame of exactly `size` bytes, which `to` now holds. */
bool lp_inflate(void *decompressor, uint8_t *to, size_t size, const uint8_t *from, size_t length);
/* The low 32 bits of XXH64 with seed 0. */
uint32_t lp_checksum(const void *data, size_t size);
/* Undoes the filter on one run; `vaddr` is the file's address of its first byte. */
void lp_unfilter(const struct lp_index *index, uint8_t *data, size_t size, uint64_t vaddr);

/* ---- code that was left out (drops.c, processor.c) ---- */

/* Where a thread is, and what it was called with; a function's start, for code that was left out. */
struct lp_call {
    uintptr_t place;
    uintptr_t arguments[2];
};

/* Whether the instruction at `call->place` stands for code that was left out and may be gone on
 * from: `call` is changed for that. Does not return where that code is missed. */
bool lp_left_out(struct lp_call *call);
/* Ends the process on a processor that lacks what the library was reduced to. */
void lp_check_processor(const struct lp_library *library);

/* ---- faults and signals (fault.c, masks.c, dispositions.c, redirect.c) ---- */

void lp_fault_start(void);

/* What the program asked for SIGSEGV or SIGBUS. The kernel always has our handler. */
struct lp_disposition {
    union {
        void (*simple)(int);
        void (*full)(int, siginfo_t *, void *);
    } handler;
    lp_mask mask;
    int flags;
};

/* What to do for a signal now; with SA_RESETHAND, only this once. */
struct lp_disposition lp_disposition_use(int signal);
void lp_disposition_start(int signal, const struct sigaction *before);
/* Sees to handlers of other signals, that were there before. */
void lp_dispositions_mend(void);

/* The program's view of a mask against what the kernel is told (see masks.c). */
lp_mask lp_mask_for_kernel(lp_mask asked);
lp_mask lp_mask_for_program(lp_mask real);
void lp_masks_start(void);
/* Whether the program, by a mask as the kernel has it, blocks SIGSEGV or SIGBUS. */
bool lp_mask_blocks(lp_mask real, int signal);

/* Points an object's imports of signal functions at ours, as far as they are relocated; to be
 * called again at each discovery. Called under the loader's lock. */
void lp_redirect(const struct dl_phdr_info *object);
/* Whether an object may have been unloaded since the last call, so that all are to be seen anew. */
void lp_redirect_forget(unsigned long long unloads);

/* ---- recording (trace.c) ---- */

extern bool lp_tracing;
void lp_trace_start(void);
void lp_trace(const struct lp_library *library, uint32_t page);
/* The same for a probe, by its address in the file. */
void lp_trace_probe(const struct lp_library *library, uint32_t vaddr);

/* ---- messages (report.c) ---- */

/* One line on stderr: "layerpack: <path>: <what>; <advice>". */
void lp_say(const char *path, const char *what, const char *advice);
/* The same, then dies by SIGABRT. Safe in a handler; the first of several threads speaks. */
_Noreturn void lp_die(const char *path, const char *what, const char *advice);

#define LP_ADVICE_DAMAGED "copy it anew, or build the layer again"
#define LP_ADVICE_MEMORY \
    "give the process more memory (or raise its limit on address space or on memory mappings)"

#endif
