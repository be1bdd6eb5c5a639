/* Which packed libraries are loaded, and where.
 *
 * Read without a lock by every fault; entries are only ever added. That is sound because a packed
 * library is never unloaded (DF_1_NODELETE), and because only such libraries are added whose
 * relocation is complete: those that are there when the pager starts, and later the one whose code
 * is just running, and with its starter all others: the loader runs constructors when it has
 * relocated all that it is loading, and loads for one thread at a time. */
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
    return offset % 8 == 0 && offset <= whole && count * size <= whole - offset;
}

/* Whether a text from `offset` on ends in an index of `whole` bytes. */
static bool is_text(const struct lp_index *index, uint64_t whole, uint64_t offset)
{
    return offset < whole && memchr((const char *)index + offset, '\0', whole - offset) != NULL;
}

/* Whether `size` bytes from the file's address `vaddr` on lie in the library, holes or not. */
static bool is_inside(const struct lp_library *library, uint64_t vaddr, uint64_t size)
{
    uint64_t whole = library->high - library->low;
    uint64_t offset = vaddr + library->base - library->low;
    return offset <= whole && size <= whole - offset;
}

/* Whether they are loaded from the file, together: where one of our own reads of them failed, the
 * kernel would end the process without a word. */
static bool is_loaded(const struct dl_phdr_info *object, uint64_t vaddr, uint64_t size)
{
    for (int i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *header = &object->dlpi_phdr[i];
        if (header->p_type == PT_LOAD && vaddr >= header->p_vaddr &&
            vaddr - header->p_vaddr <= header->p_filesz &&
            size <= header->p_filesz - (vaddr - header->p_vaddr))
            return true;
    }
    return false;
}

/* Whether the ranges are whole pages of the library, in order, and numbered through: where a page is
 * brought in, it takes the place of what is there. */
static bool are_ranges_sound(const struct lp_library *library, const struct lp_index *index)
{
    const struct lp_range *range = (const void *)((const uint8_t *)index + index->ranges);
    uint64_t pages = 0, end = 0;
    for (uint32_t i = 0; i < index->range_count; i++, range++) {
        if (range->vaddr % LP_PAGE != 0 || range->vaddr < end || range->first_page != pages ||
            !is_inside(library, range->vaddr, (uint64_t)range->pages * LP_PAGE))
            return false;
        pages += range->pages;
        end = range->vaddr + (uint64_t)range->pages * LP_PAGE;
    }
    return pages == index->page_count;
}

/* Whether the blocks are whole pages of the library, in order. */
static bool are_blocks_sound(const struct lp_library *library, const struct lp_index *index)
{
    if (!within(index->size, index->blocks, index->block_count, sizeof *library->blocks))
        return false;
    const struct lp_block *block = (const void *)((const uint8_t *)index + index->blocks);
    uint64_t end = 0;
    for (uint32_t i = 0; i < index->block_count; i++, block++) {
        if (block->vaddr % LP_PAGE != 0 || block->vaddr < end || block->pages == 0 ||
            !is_inside(library, block->vaddr, (uint64_t)block->pages * LP_PAGE))
            return false;
        end = block->vaddr + (uint64_t)block->pages * LP_PAGE;
    }
    return true;
}

static bool are_drops_sound(const struct lp_library *library, const struct lp_index *index)
{
    const struct lp_drops *drops = (const void *)((const uint8_t *)index + index->drops);
    return within(index->size, index->drops, 1, sizeof *drops) &&
           drops->table <= index->size - index->drops &&
           drops->table_size <= index->size - index->drops - drops->table &&
           is_text(index, index->size, (uint64_t)index->drops + drops->advice) &&
           (drops->thrower == 0 || is_inside(library, drops->thrower, 1));
}

/* Whether the parts of an index lie in it, and what they speak of in the library. A window's runs
 * are looked at when it is needed. */
static bool is_sound(const struct lp_library *library, const struct lp_index *index, uint64_t size)
{
    return index->size <= size && index->size >= sizeof *index &&
           lp_checksum((const uint8_t *)index + 16, index->size - 16) == index->checksum &&
           within(index->size, index->ranges, index->range_count, sizeof *library->ranges) &&
           within(index->size, index->pages, index->page_count, sizeof *library->pages) &&
           within(index->size, index->windows, index->window_count, sizeof *library->windows) &&
           within(index->size, index->runs, index->run_count, sizeof *library->runs) &&
           is_text(index, index->size, index->name) && index->filter <= LP_FILTER_AARCH64 &&
           (index->filter != LP_FILTER_X86_64 ||
            (index->filter_bits >= 2 && index->filter_bits <= 32)) &&
           are_ranges_sound(library, index) && are_blocks_sound(library, index) &&
           (index->drops == 0 || are_drops_sound(library, index));
}

static void read_index(struct lp_library *library, const struct dl_phdr_info *object,
                       const ElfW(Phdr) *header)
{
    const char *path = library->path;
    const struct lp_index *index = (const void *)(library->base + header->p_vaddr);
    const uint8_t *start = (const uint8_t *)index;
    uint64_t size = header->p_filesz;
    if (header->p_vaddr % 8 != 0 || !is_loaded(object, header->p_vaddr, size) ||
        size < sizeof *index || memcmp(index->magic, LP_MAGIC, sizeof index->magic) != 0)
        lp_die(path, "the index of its compressed code is damaged", LP_ADVICE_DAMAGED);
    if (index->version != LP_VERSION)
        lp_die(path, "it was packed for another version of liblayerpack_pager.so.1",
               "use the pager of the layerpack version that packed it");
    if (!is_sound(library, index, size) || !is_loaded(object, index->frames, index->frames_size))
        lp_die(path, "the index of its compressed code is damaged", LP_ADVICE_DAMAGED);

    library->index = index;
    library->ranges = (const void *)(start + index->ranges);
    library->pages = (const void *)(start + index->pages);
    library->windows = (const void *)(start + index->windows);
    library->runs = (const void *)(start + index->runs);
    library->blocks = (const void *)(start + index->blocks);
    library->has_data = index->block_count == 0;
    library->frames = (const uint8_t *)library->base + index->frames;
    if (*path == '\0')
        library->path = (const char *)start + index->name;
    library->drops = index->drops != 0 ? (const void *)(start + index->drops) : NULL;
    lp_check_processor(library);

    uint32_t states = lp_tracing ? index->page_count : index->window_count;
    void *present =
        lp_mmap((size_t)states + 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
    if (lp_failed(present))
        lp_die_without(library->path, LP_CODE, (long)present);
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
        lp_mask blocked;
        reading = library;
        lp_let_bus_through(&blocked);
        read_index(library, object, header);
        lp_sigmask(SIG_SETMASK, &blocked, NULL);
        reading = NULL;
        atomic_store_explicit(&library_count, count + 1, memory_order_release);
    }
    lp_give(&lp_shared->registry);
}

/* What a discovery is for: the packed library that maps an address, or all of them. */
struct search {
    uintptr_t address;
    bool all;
    enum lp_mapped mapped; /* what the kernel said, where the loader could not be asked */
};

/* Adds the object if it is packed and searched for; whether it is packed. */
static bool add_packed(const struct dl_phdr_info *object, const struct search *search)
{
    const ElfW(Phdr) *index = NULL;
    uintptr_t low = UINTPTR_MAX, high = 0;
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
    if (index != NULL &&
        (search->all || (low <= search->address && search->address < high)))
        add(object, index, low & ~(uintptr_t)(LP_PAGE - 1), high);
    return index != NULL;
}

/* Called by the loader for each object, at every discovery: plain ones that came since, or that
 * were still being relocated last time, have their signal functions pointed at ours. `data` points
 * to the search. */
static int visit(struct dl_phdr_info *object, size_t size, void *data)
{
    if (add_packed(object, data))
        return 0;
    if (size >= offsetof(struct dl_phdr_info, dlpi_subs) + sizeof object->dlpi_subs)
        lp_redirect_forget(object->dlpi_subs);
    lp_redirect(object);
    return 0;
}

/* Whether the loader could not be asked, so that plain objects wait to be redirected. */
static _Atomic bool owed;

static void add_mapped(void *argument)
{
    struct search *search = argument;
    struct dl_phdr_info object;
    search->mapped = lp_mapped_object(search->address, &object);
    if (search->mapped == LP_MAPPED)
        add_packed(&object, search);
}

static void discover(struct search search)
{
    uint32_t thread = (uint32_t)lp_call4(SYS_gettid, 0, 0, 0, 0);
    _Atomic uint32_t *asking = &lp_shared->asking[thread % LP_ASKING];
    if (atomic_exchange(asking, thread) == thread)
        return;
    /* No lock of ours is held: another thread may be in the loader, waiting for one. */
    uint64_t started = lp_clock();
    bool taken;
    do {
        taken = lp_loader_take();
        if (!taken) {
            struct lp_context *context = lp_context_take();
            atomic_store(&owed, true);
            lp_context_run(context, add_mapped, &search);
            lp_context_give(context);
        }
        /* Where no file can be opened, there is but the loader to ask. */
    } while (!taken && search.mapped == LP_NOT_READ && lp_loader_comes_free());
    if (taken) {
        atomic_store(&owed, false);
        dl_iterate_phdr(visit, &search);
        lp_loader_give();
    }
    lp_time_search(started);
    atomic_compare_exchange_strong(asking, &thread, 0);
}

struct lp_library *lp_find(uintptr_t address)
{
    struct lp_library *library = lp_known(address);
    bool late = atomic_load_explicit(&owed, memory_order_relaxed) && !lp_loader_is_locked();
    if (library != NULL && !late)
        return library;
    discover((struct search){.address = address});
    return lp_known(address);
}

void lp_find_all(void)
{
    discover((struct search){.all = true});
}

struct lp_library *lp_library_at(uint32_t number)
{
    bool exists = number < atomic_load_explicit(&library_count, memory_order_acquire);
    return exists ? &libraries[number] : NULL;
}

void lp_registry_start(void)
{
    struct search search = {.all = true};
    uint64_t started = lp_clock();
    lp_loader_start();
    dl_iterate_phdr(visit, &search);
    lp_time_search(started);
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
