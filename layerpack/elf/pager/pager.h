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

/* 0 free, else the thread that holds it, and the highest bit where it is waited for. They live in
 * memory that the kernel clears in a forked child, where their holders do not exist. The child of
 * vfork may die with one that its parent needs then, which takes it over. Hold them only with signals blocked: a handler that
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
/* Takes a lock whose holder is no more. */
bool lp_take_over(lp_lock *lock);
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
/* Calls work(argument) on the context's stack. */
void lp_context_run(struct lp_context *context, void (*work)(void *), void *argument);

/* ---- packed libraries (registry.c, loader.c) ---- */

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
    const struct lp_block *blocks;
    _Atomic bool has_data;        /* whether all blocks are there; so where there are none */
    const struct lp_drops *drops; /* NULL where nothing was left out */
    _Atomic(const struct lp_table *) table; /* NULL until it is first asked for */
    _Atomic uint8_t *present;     /* by window; by page where pages are recorded */
};

/* The library that maps an address, NULL if it is none of the known. */
struct lp_library *lp_known(uintptr_t address);
/* The same, but asks the loader too (unless this thread is doing so: then the loader's own memory
 * is broken, and to ask again would never end). */
struct lp_library *lp_find(uintptr_t address);
/* Learns the libraries that are loaded. Only where no other thread is loading one: in the
 * constructor, and in a library's starter. */
void lp_find_all(void);
/* The known libraries, in the order in which they were learned; NULL behind the last. */
struct lp_library *lp_library_at(uint32_t number);
/* The first of it; called by the constructor. */
void lp_registry_start(void);
/* Finds the lock of the loader's list. */
void lp_loader_start(void);
/* Whether another thread holds it. */
bool lp_loader_is_locked(void);
/* Takes it, waiting a little; false where it is not to be had, or where its holder is no more. */
bool lp_loader_take(void);
void lp_loader_give(void);
/* Whether the lock will be given back by whoever holds it, as far as can be told. */
bool lp_loader_comes_free(void);
/* What dl_iterate_phdr would tell, without a name, of the object that maps an address; by what the
 * kernel knows, without the loader. Takes 5 kB of stack. */
enum lp_mapped { LP_NONE, LP_MAPPED, LP_NOT_READ };
enum lp_mapped lp_mapped_object(uintptr_t address, struct dl_phdr_info *object);
/* The path of the library whose index is being read just now, if it maps this address. */
const char *lp_being_read(uintptr_t address);
/* The range of a page's address, NULL where nothing is paged. */
const struct lp_range *lp_range_at(const struct lp_library *library, uintptr_t address);
const struct lp_range *lp_range_of_page(const struct lp_library *library, uint32_t page);

/* ---- page-in (page_in.c) ---- */

/* Makes a page present. False if it already was. Does not return where it cannot be done. */
bool lp_page_in(struct lp_library *library, uint32_t page);

/* ---- memory for what comes in (fresh.c) ---- */

void lp_fresh_start(void);
/* `memory` is NULL where there is none. */
struct lp_fresh {
    uint8_t *memory;
    bool has_reserve;
};
struct lp_fresh lp_fresh_take(size_t size);
/* What lay in the memory has taken the place of a hole. */
void lp_fresh_placed(const struct lp_fresh *fresh);

/* ---- data (data.c) ---- */

/* Decompresses the data of all libraries that are loaded; called by the constructor. */
void lp_data_start(void);
/* The block of an address, NULL where there is none. */
const struct lp_block *lp_block_at(const struct lp_library *library, uintptr_t address);
/* Makes all data of a library present, for a fault at `place`; of all libraries that are loaded,
 * where that is its starter. False if it already was. Does not return where it cannot be done. */
bool lp_load_data(struct lp_library *library, uintptr_t place);

/* ---- decompressing (inflate.c, filter.c) ---- */

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

/* ---- faults and signals (fault.c, held.c, masks.c, dispositions.c, redirect.c) ---- */

void lp_fault_start(void);
/* Whether this thread has come from the same instruction with the same fault many times in a row. */
bool lp_again_and_again(uintptr_t address, uintptr_t place);
/* Makes ours the kernel's handler of SIGSEGV or SIGBUS, with or without SA_RESTART. */
void lp_fault_install(int signal, bool restarts);

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
/* Takes over from the disposition that is there. */
void lp_disposition_start(int signal);
/* Sees to handlers of other signals, that were there before. */
void lp_dispositions_mend(void);

/* The program's view of a mask against what the kernel is told (see masks.c). */
lp_mask lp_mask_for_kernel(lp_mask asked);
lp_mask lp_mask_for_program(lp_mask real);
void lp_masks_start(void);
/* Lets SIGBUS through, as a truncated file raises it; gives the mask to set afterwards. */
void lp_let_bus_through(lp_mask *before);
/* Whether the program, by a mask as the kernel has it, blocks SIGSEGV or SIGBUS. */
bool lp_mask_blocks(lp_mask real, int signal);
/* All signals, but what stands instead of those that a mask lets through. */
lp_mask lp_mask_while_waiting(lp_mask real);
/* The program's mask as the kernel is to have it while a handler runs, from that of its context. */
lp_mask lp_mask_in_handler(lp_mask found);

/* Keeps a signal that was sent to this thread, which blocks it; false where there is no room. */
bool lp_hold(int signal, const siginfo_t *info);
/* Sends what is held for this thread and not blocked by a mask as the kernel has it. */
void lp_release(lp_mask real);
void lp_send_again(int signal, const siginfo_t *info);
/* Around a call that waits with `set` (as the kernel has it, or NULL) as its mask: what is held and
 * not blocked by it arrives within the call, which then ends by it. */
struct lp_wait {
    bool blocked;
    lp_mask before;
};
void lp_wait_begins(const sigset_t *set, struct lp_wait *wait);
int lp_wait_ended(const struct lp_wait *wait, int result);

/* Points an object's imports of signal functions at ours, as far as they are relocated; to be
 * called again at each discovery. Called under the loader's lock. */
void lp_redirect(const struct dl_phdr_info *object);
/* Whether an object may have been unloaded since the last call, so that all are to be seen anew. */
void lp_redirect_forget(unsigned long long unloads);

/* ---- recording (trace.c) ---- */

extern bool lp_tracing, lp_timing;
void lp_trace_start(void);
void lp_trace(const struct lp_library *library, uint32_t page);
/* The same for a probe, by its address in the file. */
void lp_trace_probe(const struct lp_library *library, uint32_t vaddr);
/* Nanoseconds from some moment on; 0 where nothing is timed. */
uint64_t lp_clock(void);
/* A line for a window that was brought in since `started`, in so many runs; `decoding` nanoseconds
 * of that were spent on its bytes. */
void lp_time_window(const struct lp_library *library, uint32_t window, uint32_t runs,
                    uint64_t started, uint64_t decoding);
/* The same for a block of data. */
void lp_time_block(const struct lp_library *library, uint32_t block, uint64_t started,
                   uint64_t decoding);
/* The same for looking through what is loaded. */
void lp_time_search(uint64_t started);

/* ---- messages (report.c) ---- */

enum lp_what { LP_CODE, LP_DATA };

/* One line on stderr: "layerpack: <path>: <what>; <advice>". */
void lp_say(const char *path, const char *what, const char *advice);
/* The same, then dies by SIGABRT. Safe in a handler; the first of several threads speaks. */
_Noreturn void lp_die(const char *path, const char *what, const char *advice);

/* Dies as `result` of a system call for memory says; `what` cannot be loaded. */
_Noreturn void lp_die_without(const char *path, enum lp_what what, long result);

#define LP_ADVICE_DAMAGED "copy it anew, or build the layer again"
#define LP_ADVICE_MEMORY \
    "give the process more memory (or raise its limit on address space or on memory mappings)"
#define LP_ADVICE_ALLOWED \
    "let the process map memory and make it executable (seccomp, SELinux or systemd forbids it)"

#endif
