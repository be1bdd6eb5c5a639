/* Code that was left out: what is said where it is missed, and how probes go on. */
#include <string.h>
#include <sys/mman.h>

#include "pager.h"

#define LONGEST_MESSAGE 1024

struct job {
    const struct lp_library *library;
    struct lp_context *context;
    uint8_t *memory;
};

static void inflate(void *argument)
{
    const struct job *job = argument;
    const struct lp_drops *drops = job->library->drops;
    struct lp_context *context = job->context;
    const uint8_t *frame = (const uint8_t *)drops + drops->table;
    if (context->decompressor == NULL)
        context->decompressor = lp_inflate_start(context->memory, context->memory_size);
    if (context->decompressor == NULL ||
        !lp_inflate(context->decompressor, job->memory, drops->table_raw, frame,
                    drops->table_size))
        lp_die(job->library->path, "the table of what was left out is damaged",
               LP_ADVICE_DAMAGED);
}

/* Two threads that ask at once each read it; one of the two stays. */
static const struct lp_table *table_of(struct lp_library *library)
{
    const struct lp_table *table = atomic_load_explicit(&library->table, memory_order_acquire);
    if (table != NULL)
        return table;
    size_t size = library->drops->table_raw;
    uint8_t *memory = lp_mmap(size + 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
    if (lp_failed(memory))
        lp_die(library->path, "not enough memory to say what was left out", LP_ADVICE_MEMORY);
    struct job job = {.library = library, .context = lp_context_take(), .memory = memory};
    lp_context_run(job.context, inflate, &job);
    lp_context_give(job.context);
    table = (const void *)memory;
    uint64_t whole = sizeof *table + (uint64_t)table->dropped_count * sizeof(struct lp_dropped) +
                     (uint64_t)table->entry_count * sizeof(struct lp_entry) +
                     (uint64_t)table->probe_count * sizeof(struct lp_probe);
    if (size < sizeof *table || whole > size)
        lp_die(library->path, "the table of what was left out is damaged", LP_ADVICE_DAMAGED);
    atomic_store_explicit(&library->table, table, memory_order_release);
    return table;
}

/* The last of `count` items of `size` bytes whose first number is not above `vaddr`, or NULL. */
static const void *last_before(const void *items, uint32_t count, size_t size, uint64_t vaddr)
{
    const uint8_t *first = items;
    uint32_t low = 0, high = count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2, start;
        memcpy(&start, first + middle * size, sizeof start);
        if (start <= vaddr)
            low = middle + 1;
        else
            high = middle;
    }
    return low == 0 ? NULL : first + (low - 1) * size;
}

static const char *text_at(const struct lp_library *library, const struct lp_table *table,
                           uint32_t offset)
{
    /* A byte more than the table was mapped, and is zero. */
    return offset < library->drops->table_raw ? (const char *)table + offset : "";
}

/* Runs the instruction of a probe from now on; whether it did not before. */
static bool restore(const struct lp_library *library, const struct lp_probe *probe)
{
    volatile uint8_t *place = (volatile uint8_t *)(library->base + probe->vaddr);
    uint8_t *page = (uint8_t *)((uintptr_t)place & ~(uintptr_t)(LP_PAGE - 1));
    /* Another thread may be at this probe, or at another one on the page: it must not take the
     * right to write away between. */
    lp_take(&lp_shared->probes);
    bool first = *place != (uint8_t)probe->original;
    if (first) {
        if (lp_mprotect(page, LP_PAGE, PROT_READ | PROT_WRITE | PROT_EXEC) < 0)
            lp_die(library->path, "its code cannot be changed to see what runs",
                   "record where the system lets a process write to its own code");
        *place = (uint8_t)probe->original;
        lp_mprotect(page, LP_PAGE, PROT_READ | PROT_EXEC);
    }
    lp_give(&lp_shared->probes);
    return first;
}

struct message {
    _Atomic uint32_t thread;      /* 0: nobody's */
    char text[LONGEST_MESSAGE];
};

struct messages {
    struct message all[64];
    _Atomic(struct messages *) more;
};

/* Whether a message is free for this thread, which takes it then; so are those of threads that are
 * no more. */
static bool take_message(struct message *message, uint32_t thread)
{
    uint32_t owner = atomic_load(&message->thread);
    if (owner != 0 && lp_call4(SYS_tkill, owner, 0, 0, 0) != -ESRCH)
        return false;
    return atomic_compare_exchange_strong(&message->thread, &owner, thread);
}

/* What a message is put together in: a thread's own, since an exception copies its text at once,
 * but the thread may be interrupted before. NULL where there is no memory for one. */
static char *message_memory(void)
{
    static struct messages first;
    uint32_t thread = (uint32_t)lp_call4(SYS_gettid, 0, 0, 0, 0);
    for (struct messages *some = &first; some != NULL; some = atomic_load(&some->more))
        for (size_t i = 0; i < 64; i++)
            if (some->all[i].thread == thread)
                return some->all[i].text;
    for (struct messages *some = &first;; some = atomic_load(&some->more)) {
        for (size_t i = 0; i < 64; i++)
            if (take_message(&some->all[i], thread))
                return some->all[i].text;
        if (atomic_load(&some->more) != NULL)
            continue;
        struct messages *none = NULL, *more =
            lp_mmap(sizeof *more, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
        if (lp_failed(more))
            return NULL;
        if (!atomic_compare_exchange_strong(&some->more, &none, more))
            lp_munmap(more, sizeof *more);
    }
}

static char *append(char *end, const char *limit, const char *text)
{
    while (*text != '\0' && end < limit)
        *end++ = *text++;
    *end = '\0';
    return end;
}

/* The name that an argument leads to, NULL where it leads to none. */
static const char *told_name(const struct lp_entry *entry, const struct lp_call *call)
{
    if (entry->argument < 1 || entry->argument > 2)
        return NULL;
    uintptr_t at = call->arguments[entry->argument - 1];
    for (uint32_t step = 0; step < entry->steps; step++) {
        if (at % sizeof at != 0 || !lp_readable(at))
            return NULL;
        at = *(const uintptr_t *)at;
    }
    for (uintptr_t end = at; end < at + 128; end++) {
        if ((end == at || end % 8 == 0) && !lp_readable(end & ~(uintptr_t)7))
            return NULL;
        char letter = *(const char *)end;
        if (letter == '\0')
            return end == at ? NULL : (const char *)at;
        if (letter != '_' && letter != '.' && !(letter >= '0' && letter <= '9') &&
            !((letter | 32) >= 'a' && (letter | 32) <= 'z'))
            return NULL;
    }
    return NULL;
}

/* As if the caller had called what throws: the stack is as the call left it. */
static void throw_from(const struct lp_library *library, const struct lp_table *table,
                       const struct lp_entry *entry, struct lp_call *call)
{
    char *text = message_memory(), *limit = text + LONGEST_MESSAGE - 1, *end = text;
    if (text == NULL)
        lp_die(library->path, "not enough memory to say what was left out", LP_ADVICE_MEMORY);
    const char *name = told_name(entry, call);
    end = append(end, limit, text_at(library, table, entry->before));
    end = append(end, limit, name != NULL ? name : text_at(library, table, entry->name));
    append(end, limit, text_at(library, table, entry->after));
    call->place = library->base + library->drops->thrower;
    call->arguments[0] = (uintptr_t)text;
}

static _Noreturn void missed(const struct lp_library *library, const char *name,
                             const char *advice)
{
    static const char without_name[] = "code that was left out of it is missed";
    char *what = message_memory(), *limit = what + LONGEST_MESSAGE - 1, *end = what;
    if (what == NULL)
        lp_die(library->path, without_name, advice);
    end = append(end, limit, without_name);
    if (*name != '\0') {
        end = append(end, limit, " (");
        end = append(end, limit, name);
        append(end, limit, ")");
    }
    lp_die(library->path, what, advice);
}

bool lp_left_out(struct lp_call *call)
{
    /* Not all pages are paged: this may be the first that is seen of the library. */
    struct lp_library *library = lp_find(call->place);
    if (library == NULL || library->drops == NULL)
        return false;
    uint64_t vaddr = call->place - library->base;
    const struct lp_table *table = table_of(library);
    const struct lp_dropped *dropped = (const void *)(table + 1);
    const struct lp_entry *entries = (const void *)(dropped + table->dropped_count);
    const struct lp_probe *probes = (const void *)(entries + table->entry_count);

    const struct lp_probe *probe =
        last_before(probes, table->probe_count, sizeof *probes, vaddr);
    if (probe != NULL && probe->vaddr == vaddr) {
        /* Where another thread was faster, the instruction is run again; one that goes on faulting
         * does so by itself. */
        if (!restore(library, probe))
            return !lp_again_and_again(call->place, call->place);
        if (lp_tracing)
            lp_trace_probe(library, probe->vaddr);
        return true;
    }
    const struct lp_entry *entry =
        last_before(entries, table->entry_count, sizeof *entries, vaddr);
    if (entry != NULL && entry->vaddr == vaddr && library->drops->thrower != 0) {
        throw_from(library, table, entry, call);
        return true;
    }
    dropped = last_before(dropped, table->dropped_count, sizeof *dropped, vaddr);
    if (dropped == NULL || vaddr - dropped->vaddr >= dropped->size)
        return false;
    missed(library, text_at(library, table, dropped->name),
           text_at(library, table, dropped->advice));
}
