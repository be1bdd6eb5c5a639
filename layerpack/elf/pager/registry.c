/* Which packed libraries are loaded, and where.
 *
 * Read without a lock by every fault; entries are only ever added. That is sound because a packed
 * library is never unloaded (DF_1_NODELETE), and because only such libraries are added whose
 * relocation is complete: those that are there when the pager starts, and later the one whose code
 * is just running. */
#include <string.h>

#include "pager.h"

#include <sys/mman.h>

#define MOST_LIBRARIES 4096

static struct lp_library libraries[MOST_LIBRARIES];
static _Atomic uint32_t library_count;
/* While its index is read: a truncated file raises SIGBUS there. Under the registry's lock. */
static struct lp_library *volatile reading;

struct lp_library *lp_known(uintptr_t address)
{
    uint32_t count = atomic_load_explicit(&library_count, memory_order_acquire);
    for (uint32_t i = 0; i < count; i++)
        if (libraries[i].low <= address && address < libraries[i].high)
            return &libraries[i];
    return NULL;
}

const char *lp_being_read(uintptr_t address)
{
    struct lp_library *library = reading;
    bool inside = library != NULL && library->low <= address && address < library->high;
    return inside ? library->path : NULL;
}

/* Whether `count` items of `size` bytes from `offset` on lie in an index of `whole` bytes. */
static bool within(uint64_t whole, uint32_t offset, uint64_t count, uint64_t size)
{
    return offset % 4 == 0 && offset <= whole && count * size <= whole - offset;
}

static void read_index(struct lp_library *library, const struct lp_index *index, uint64_t size)
{
    const char *path = library->path;
    const uint8_t *start = (const uint8_t *)index;
    if (size < sizeof *index || memcmp(index->magic, LP_MAGIC, sizeof index->magic) != 0)
        lp_die(path, "the index of its compressed code is damaged", LP_ADVICE_DAMAGED);
    if (index->version != LP_VERSION)
        lp_die(path, "it was packed for another version of liblayerpack_pager.so.1",
               "use the pager of the layerpack version that packed it");
    if (index->size > size || index->size < sizeof *index ||
        lp_checksum(start + 16, index->size - 16) != index->checksum ||
        !within(index->size, index->ranges, index->range_count, sizeof *library->ranges) ||
        !within(index->size, index->pages, index->page_count, sizeof *library->pages) ||
        !within(index->size, index->windows, index->window_count, sizeof *library->windows) ||
        !within(index->size, index->runs, index->run_count, sizeof *library->runs) ||
        index->name >= index->size || index->filter > LP_FILTER_AARCH64 ||
        !within(index->size, index->drops, index->drops != 0, sizeof *library->drops) ||
        (index->filter == LP_FILTER_X86_64 && (index->filter_bits < 2 || index->filter_bits > 32)))
        lp_die(path, "the index of its compressed code is damaged", LP_ADVICE_DAMAGED);

    library->index = index;
    library->ranges = (const void *)(start + index->ranges);
    library->pages = (const void *)(start + index->pages);
    library->windows = (const void *)(start + index->windows);
    library->runs = (const void *)(start + index->runs);
    library->frames = (const uint8_t *)library->base + index->frames;
    if (*path == '\0')
        library->path = (const char *)start + index->name;
    library->drops = index->drops != 0 ? (const void *)(start + index->drops) : NULL;
    if (library->drops != NULL &&
        (!within(index->size - index->drops, library->drops->table, library->drops->table_size, 1) ||
         library->drops->advice >= index->size - index->drops))
        lp_die(path, "the index of its compressed code is damaged", LP_ADVICE_DAMAGED);
    lp_check_processor(library);

    uint32_t states = lp_tracing ? index->page_count : index->window_count;
    void *present = lp_mmap(states + 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
    if (lp_failed(present))
        lp_die(library->path, "not enough memory to load its code", LP_ADVICE_MEMORY);
    library->present = present;
}

static void add(const struct dl_phdr_info *object, const ElfW(Phdr) *header, uintptr_t low,
                uintptr_t high)
{
    lp_take(&lp_shared->registry);
    if (lp_known(low) == NULL) {
        uint32_t count = atomic_load_explicit(&library_count, memory_order_relaxed);
        if (count == MOST_LIBRARIES)
            lp_die(object->dlpi_name, "it is one packed library too many for this process",
                   "pack fewer libraries");
        struct lp_library *library = &libraries[count];
        library->base = object->dlpi_addr;
        library->low = low;
        library->high = high;
        library->path = object->dlpi_name;
        reading = library;
        read_index(library, (const void *)(object->dlpi_addr + header->p_vaddr),
                   header->p_filesz);
        reading = NULL;
        atomic_store_explicit(&library_count, count + 1, memory_order_release);
    }
    lp_give(&lp_shared->registry);
}

/* Called by the loader for each object, at every discovery: plain ones that came since, or that
 * were still being relocated last time, have their signal functions pointed at ours. `data` points
 * to the address that is looked for, 0 for all. */
static int visit(struct dl_phdr_info *object, size_t size, void *data)
{
    const ElfW(Phdr) *index = NULL;
    uintptr_t low = UINTPTR_MAX, high = 0, wanted = *(const uintptr_t *)data;
    for (int i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *header = &object->dlpi_phdr[i];
        if (header->p_type == LP_PT_INDEX) {
            index = header;
        } else if (header->p_type == PT_LOAD) {
            uintptr_t start = object->dlpi_addr + header->p_vaddr;
            low = start < low ? start : low;
            high = start + header->p_memsz > high ? start + header->p_memsz : high;
        }
    }
    if (index == NULL) {
        if (size >= offsetof(struct dl_phdr_info, dlpi_subs) + sizeof object->dlpi_subs)
            lp_redirect_forget(object->dlpi_subs);
        lp_redirect(object);
    } else if (wanted == 0 || (low <= wanted && wanted < high)) {
        add(object, index, low & ~(uintptr_t)(LP_PAGE - 1), high);
    }
    return 0;
}

struct lp_library *lp_find(uintptr_t address)
{
    struct lp_library *library = lp_known(address);
    if (library != NULL)
        return library;
    uint32_t thread = (uint32_t)lp_call4(SYS_gettid, 0, 0, 0, 0);
    _Atomic uint32_t *asking = &lp_shared->asking[thread % LP_ASKING];
    if (atomic_exchange(asking, thread) == thread)
        return NULL;
    /* No lock of ours is held: another thread may be in the loader, waiting for one. */
    dl_iterate_phdr(visit, &address);
    atomic_compare_exchange_strong(asking, &thread, 0);
    return lp_known(address);
}

void lp_registry_start(void)
{
    uintptr_t all = 0;
    dl_iterate_phdr(visit, &all);
}

const struct lp_range *lp_range_at(const struct lp_library *library, uintptr_t address)
{
    uint64_t vaddr = address - library->base;
    for (uint32_t i = 0; i < library->index->range_count; i++) {
        const struct lp_range *range = &library->ranges[i];
        if (vaddr >= range->vaddr && (vaddr - range->vaddr) / LP_PAGE < range->pages)
            return range;
    }
    return NULL;
}

const struct lp_range *lp_range_of_page(const struct lp_library *library, uint32_t page)
{
    for (uint32_t i = 0; i < library->index->range_count; i++) {
        const struct lp_range *range = &library->ranges[i];
        if (page >= range->first_page && page - range->first_page < range->pages)
            return range;
    }
    return NULL;
}
