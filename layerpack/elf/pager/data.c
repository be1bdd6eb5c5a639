/* Read-only data that is stored compressed: all of a library's is decompressed when it is loaded.
 *
 * It cannot come in when it is touched, as code does: the kernel answers a system call that is given
 * a pointer into an absent page with EFAULT, and no fault tells of it. So it must be there before
 * any code of the library runs. The pager's constructor sees to the libraries that are loaded with
 * it; those that come later have a starter, which the loader calls before their constructors. Their
 * code may run earlier still, where the constructor of a library that they need calls back: then the
 * first of their pages that it faults on has the data loaded. What is not seen is data that such a
 * function hands to the kernel before any fault, as its own code is mapped.
 *
 * The bytes come into memory of their own first, as code's do (page_in.c). */
#include <string.h>
#include <sys/mman.h>

#include "pager.h"

struct job {
    struct lp_library *library;
    struct lp_context *context;
};

static void decompress(const struct job *job, const struct lp_block *block, uint8_t *memory)
{
    const struct lp_library *library = job->library;
    const struct lp_index *index = library->index;
    struct lp_context *context = job->context;
    if (context->decompressor == NULL)
        context->decompressor = lp_inflate_start(context->memory, context->memory_size);
    if (context->decompressor == NULL)
        lp_die(library->path, "its data cannot be decompressed", LP_ADVICE_MEMORY);
    if (block->offset > index->frames_size || block->size > index->frames_size - block->offset ||
        !lp_inflate(context->decompressor, memory, (size_t)block->pages * LP_PAGE,
                    library->frames + block->offset, block->size))
        lp_die(library->path, "its compressed data is damaged", LP_ADVICE_DAMAGED);
}

static void load_block(const struct job *job, uint32_t number)
{
    const struct lp_library *library = job->library;
    const struct lp_block *block = &library->blocks[number];
    const size_t size = (size_t)block->pages * LP_PAGE;
    const int rights = block->flags & PF_X ? PROT_READ | PROT_EXEC : PROT_READ;
    uint64_t started = lp_clock();
    const struct lp_fresh fresh = lp_fresh_take(size);
    uint8_t *memory = fresh.memory;
    if (memory == NULL)
        lp_die_without(library->path, LP_DATA, -ENOMEM);
    uint64_t decoding = lp_clock();
    decompress(job, block, memory);
    decoding = lp_clock() - decoding;
    if (block->flags & PF_X)
        __builtin___clear_cache((char *)memory, (char *)memory + size);
    long result = lp_mprotect(memory, size, rights);
    if (result >= 0)
        result = lp_call6(SYS_mremap, (long)memory, (long)size, (long)size,
                          MREMAP_MAYMOVE | MREMAP_FIXED, (long)(library->base + block->vaddr), 0);
    if (lp_failed((void *)result))
        lp_die_without(library->path, LP_DATA, result);
    lp_fresh_placed(&fresh);
    lp_time_block(library, number, started, decoding);
}

static void load(void *argument)
{
    const struct job *job = argument;
    for (uint32_t i = 0; i < job->library->index->block_count; i++)
        load_block(job, i);
}

/* With all signals blocked. A child of a fork, or whoever takes the lock over from a child of vfork
 * that died, begins anew: a block may be put in its place twice. */
static bool load_all(struct lp_library *library)
{
    if (atomic_load_explicit(&library->has_data, memory_order_acquire))
        return false;
    lp_lock *lock = &lp_shared->windows[(library->base >> 12) % LP_WINDOW_LOCKS];
    lp_take(lock);
    bool absent = !atomic_load_explicit(&library->has_data, memory_order_acquire);
    if (absent) {
        struct lp_context *context = lp_context_take();
        struct job job = {.library = library, .context = context};
        lp_context_run(context, load, &job);
        lp_context_give(context);
        atomic_store_explicit(&library->has_data, true, memory_order_release);
    }
    lp_give(lock);
    return absent;
}

static void load_those_of_all(void)
{
    struct lp_library *library;
    for (uint32_t i = 0; (library = lp_library_at(i)) != NULL; i++)
        load_all(library);
}

void lp_data_start(void)
{
    const lp_mask all = ~(lp_mask)0;
    lp_mask before;
    lp_sigmask(SIG_SETMASK, &all, &before);
    load_those_of_all();
    lp_sigmask(SIG_SETMASK, &before, NULL);
}

const struct lp_block *lp_block_at(const struct lp_library *library, uintptr_t address)
{
    uint64_t vaddr = address - library->base;
    for (uint32_t i = 0; i < library->index->block_count; i++) {
        const struct lp_block *block = &library->blocks[i];
        if (vaddr >= block->vaddr && (vaddr - block->vaddr) / LP_PAGE < block->pages)
            return block;
    }
    return NULL;
}

/* Instructions of a starter take fewer bytes. */
#define STARTER_SIZE 64

bool lp_load_data(struct lp_library *library, uintptr_t place)
{
    uint64_t starter = library->index->starter;
    if (!load_all(library))
        return false;
    /* The others' before constructors run, which may use theirs. */
    if (starter != 0 && place - library->base - starter < STARTER_SIZE) {
        lp_find_all();
        load_those_of_all();
    }
    return true;
}
