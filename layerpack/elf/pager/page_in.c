/* Brings a window of pages into memory: decompress, verify, place.
 *
 * The bytes come into memory of their own first, which then takes the hole's place in one system
 * call, so that no other thread ever runs half a page. */
#include <stddef.h>
#include <sys/mman.h>

#include "pager.h"

struct job {
    struct lp_library *library;
    struct lp_context *context;
    uint32_t page;
    uint64_t decoding;            /* nanoseconds; by `load` */
};

/* The bytes of a window, in fresh memory that its runs are to be moved from. */
static void decompress(const struct job *job, const struct lp_window *window,
                       const struct lp_run *runs, uint32_t run_count, uint8_t *memory)
{
    struct lp_library *library = job->library;
    const struct lp_index *index = library->index;
    struct lp_context *context = job->context;
    /* Once: it executes CPUID, which a virtual machine has to trap. */
    if (context->decompressor == NULL)
        context->decompressor = lp_inflate_start(context->memory, context->memory_size);
    if (context->decompressor == NULL)
        lp_die(library->path, "its code cannot be decompressed", LP_ADVICE_MEMORY);
    bool sound = window->offset <= index->frames_size &&
                 window->size <= index->frames_size - window->offset &&
                 lp_inflate(context->decompressor, memory, window->raw,
                            library->frames + window->offset, window->size);
    uint64_t at = 0;
    for (uint32_t i = 0; sound && i < run_count; i++) {
        const struct lp_range *range = lp_range_of_page(library, runs[i].page);
        uint64_t size = (uint64_t)runs[i].pages * LP_PAGE;
        if (range->flags & PF_X)
            lp_unfilter(index, memory + at, size,
                        range->vaddr + (uint64_t)(runs[i].page - range->first_page) * LP_PAGE);
        at += size;
    }
    if (!sound || lp_checksum(memory, window->raw) != window->checksum)
        lp_die(library->path, "its compressed code is damaged", LP_ADVICE_DAMAGED);
}

/* The rights of a run's pages, as mprotect takes them. */
static int protection_of(const struct lp_library *library, const struct lp_run *run)
{
    return lp_range_of_page(library, run->page)->flags & PF_X ? PROT_READ | PROT_EXEC : PROT_READ;
}

static void protect(const struct lp_library *library, uint8_t *memory, size_t size, int protection)
{
    /* arm64 does not see new code by itself; the kernel's own flush goes by page. */
    if (protection & PROT_EXEC)
        __builtin___clear_cache((char *)memory, (char *)memory + size);
    long result = lp_mprotect(memory, size, protection);
    if (result < 0)
        lp_die_without(library->path, LP_CODE, result);
}

/* Gives the bytes of all runs their rights: those that lie together and have the same in one call,
 * as each takes the kernel as long as moving a run. */
static void protect_runs(const struct lp_library *library, const struct lp_run *runs,
                         uint32_t count, uint8_t *memory)
{
    size_t size = 0;
    for (uint32_t i = 0; i < count; i++) {
        int protection = protection_of(library, &runs[i]);
        size += (size_t)runs[i].pages * LP_PAGE;
        if (i + 1 == count || protection_of(library, &runs[i + 1]) != protection) {
            protect(library, memory, size, protection);
            memory += size;
            size = 0;
        }
    }
}

/* Moves `pages` pages from `memory` to where they belong. */
static void place(const struct lp_library *library, uint32_t page, uint32_t pages, uint8_t *memory)
{
    const struct lp_range *range = lp_range_of_page(library, page);
    size_t size = (size_t)pages * LP_PAGE;
    uintptr_t target =
        library->base + range->vaddr + (uintptr_t)(page - range->first_page) * LP_PAGE;
    long result = lp_call6(SYS_mremap, (long)memory, (long)size, (long)size,
                           MREMAP_MAYMOVE | MREMAP_FIXED, (long)target, 0);
    if (lp_failed((void *)result))
        lp_die_without(library->path, LP_CODE, result);
}

/* The number of the run behind a window's last. */
static uint32_t run_end_of(const struct lp_library *library, uint32_t window)
{
    return window + 1 < library->index->window_count ? library->windows[window + 1].first_run
                                                     : library->index->run_count;
}

/* Whether `page` is in its window, and the window's runs are pages of ranges, as many as it has bytes
 * for. */
static bool is_window_sound(const struct lp_library *library, uint32_t page)
{
    const struct lp_index *index = library->index;
    uint32_t number = library->pages[page];
    if (number >= index->window_count)
        return false;
    const struct lp_window *window = &library->windows[number];
    uint32_t end = run_end_of(library, number);
    uint64_t pages = 0;
    bool found = false;
    if (end > index->run_count)
        return false;
    for (uint32_t i = window->first_run; i < end; i++) {
        const struct lp_run *run = &library->runs[i];
        const struct lp_range *range = lp_range_of_page(library, run->page);
        if (range == NULL || run->page - range->first_page + (uint64_t)run->pages > range->pages)
            return false;
        found = found || (page >= run->page && page - run->page < run->pages);
        pages += run->pages;
    }
    return found && pages <= index->page_count && pages * LP_PAGE == window->raw;
}

static void load(void *argument)
{
    struct job *job = argument;
    struct lp_library *library = job->library;
    uint32_t number = library->pages[job->page];
    const struct lp_window *window = &library->windows[number];
    uint32_t run_end = run_end_of(library, number);
    const struct lp_run *runs = &library->runs[window->first_run];
    struct lp_fresh fresh = lp_fresh_take(window->raw);
    uint8_t *memory = fresh.memory;
    if (memory == NULL)
        lp_die_without(library->path, LP_CODE, -ENOMEM);

    job->decoding = lp_clock();
    decompress(job, window, runs, run_end - window->first_run, memory);
    job->decoding = lp_clock() - job->decoding;
    protect_runs(library, runs, run_end - window->first_run, memory);
    uint8_t *at = memory;
    for (uint32_t i = window->first_run; i < run_end; i++, runs++) {
        size_t size = (size_t)runs->pages * LP_PAGE;
        if (!lp_tracing) {
            place(library, runs->page, runs->pages, at);
        } else if (job->page >= runs->page && job->page - runs->page < runs->pages) {
            /* All but this page goes first: where it was, another thread may have memory next. */
            uint8_t *page = at + (size_t)(job->page - runs->page) * LP_PAGE;
            lp_munmap(memory, (size_t)(page - memory));
            lp_munmap(page + LP_PAGE, (size_t)(memory + window->raw - page) - LP_PAGE);
            place(library, job->page, 1, page);
        }
        at += size;
    }
    lp_fresh_placed(&fresh);
}

bool lp_page_in(struct lp_library *library, uint32_t page)
{
    uint32_t window = library->pages[page];
    if (!is_window_sound(library, page))
        lp_die(library->path, "the index of its compressed code is damaged", LP_ADVICE_DAMAGED);
    _Atomic uint8_t *present = &library->present[lp_tracing ? page : window];
    if (atomic_load_explicit(present, memory_order_acquire))
        return false;

    uintptr_t hash = (library->base >> 12) * 31 + window;
    lp_lock *lock = &lp_shared->windows[hash % LP_WINDOW_LOCKS];
    uint64_t started = lp_clock();
    bool absent;
    lp_take(lock);
    absent = !atomic_load_explicit(present, memory_order_acquire);
    if (absent) {
        struct lp_context *context = lp_context_take();
        struct job job = {.library = library, .context = context, .page = page};
        lp_context_run(context, load, &job);
        lp_context_give(context);
        if (lp_tracing)
            lp_trace(library, page);
        lp_time_window(library, window,
                       run_end_of(library, window) - library->windows[window].first_run, started,
                       job.decoding);
        atomic_store_explicit(present, 1, memory_order_release);
    }
    lp_give(lock);
    return absent;
}
