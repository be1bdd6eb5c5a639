/* The index reader: a whole library as the loader maps it, of which all but the first byte of the
 * input is the last part, from its index on. Then each of its pages is brought in, and each place is
 * run that it says was left out. Either is refused by a message, or gives what can be read. */
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sanitizer/asan_interface.h>
#include <sys/mman.h>

#include "shim.h"

#include "registry.c"

#undef lp_mmap
#undef lp_call6

#define HOLES (512 * 1024)
#define ROOM (512 * 1024)
#define MOST_MEMORY ((size_t)64 * 1024 * 1024)

/* Of the input's first byte. */
#define CHECKSUM_IS_LEFT 1
#define TRACES 2

static uint8_t *image;
static jmp_buf refused;
static stack_t signal_stack;

static struct {
    void *memory;
    size_t size;
} taken[4096];
static size_t taken_count;

void *shim_mmap(size_t size, int protection, int flags)
{
    if (size > MOST_MEMORY || taken_count == sizeof taken / sizeof *taken)
        return (void *)-(intptr_t)ENOMEM;
    void *memory = lp_mmap(size, protection, flags);
    if (!lp_failed(memory)) {
        taken[taken_count].memory = memory;
        taken[taken_count++].size = size;
    }
    return memory;
}

long shim_call6(long number, long a, long b, long c, long d, long e, long f)
{
    uintptr_t to = (uintptr_t)e;
    if (number != SYS_mremap)
        return lp_call6(number, a, b, c, d, e, f);
    if (to < (uintptr_t)image || to + (size_t)b > (uintptr_t)image + HOLES + ROOM || to % LP_PAGE)
        abort();
    /* What it holds afterwards is the harness's to free with the image. */
    for (size_t i = 0; i < taken_count; i++)
        if ((uintptr_t)taken[i].memory == (uintptr_t)a)
            taken[i].memory = NULL;
    return lp_call6(number, a, b, c, d, e, f);
}

/* Instead of report.c's. */
void lp_say(const char *path, const char *what, const char *advice)
{
    (void)path, (void)what, (void)advice;
}

_Noreturn void lp_die(const char *path, const char *what, const char *advice)
{
    /* All that is said must be texts. */
    volatile size_t length = (path != NULL ? strlen(path) : 0) + strlen(what) + strlen(advice);
    (void)length;
    longjmp(refused, 1);
}

_Noreturn void lp_die_without(const char *path, enum lp_what what, long result)
{
    (void)result;
    lp_die(path, what == LP_CODE ? "code" : "data", "");
}

static void release(void)
{
    /* Frames that were left by longjmp, here and on the context's stack. */
    struct lp_context *context = lp_context_take();
    uint8_t *here = __builtin_frame_address(0);
    __asan_unpoison_memory_region(here - 64 * 1024, 64 * 1024);
    __asan_unpoison_memory_region((uint8_t *)context->stack_top - 64 * 1024, 64 * 1024);
    uint32_t process = lp_shared->process;
    for (size_t i = 0; i < taken_count; i++)
        if (taken[i].memory != NULL)
            lp_munmap(taken[i].memory, taken[i].size);
    taken_count = 0;
    memset(lp_shared, 0, sizeof *lp_shared);
    lp_shared->process = process;
    memset(libraries, 0, sizeof libraries[0]);
    library_count = 0;
    reading = NULL;
    lp_call4(SYS_sigaltstack, (long)&signal_stack, 0, 0, 0);
    __asan_unpoison_memory_region(image, HOLES + ROOM);
}

static void use_all(struct lp_library *library)
{
    lp_load_data(library, library->base);
    for (uint32_t i = 0; i < library->index->block_count; i++)
        if (library->blocks[i].pages > 0 && !lp_readable(library->base + library->blocks[i].vaddr))
            abort();
    uint32_t left = 256;
    for (uint32_t i = 0; i < library->index->range_count; i++) {
        const struct lp_range *range = &library->ranges[i];
        for (uint32_t k = 0; k < range->pages && left > 0; k++, left--) {
            uintptr_t at = library->base + range->vaddr + (uintptr_t)k * LP_PAGE;
            if (lp_range_at(library, at) == NULL)
                abort();
            lp_page_in(library, range->first_page + k);
            if (lp_range_at(library, at) == range && !lp_readable(at))
                abort();
        }
    }
    if (library->drops == NULL)
        return;
    static uintptr_t names[4] = {(uintptr_t)"conv_2d", 0, 1};
    names[1] = (uintptr_t)names;
    for (size_t i = 0; i < 128; i++) {
        struct lp_call call = {
            .place = library->base + i * 8,
            .arguments = {(uintptr_t)&names[i % 4], names[i / 4 % 4]},
        };
        lp_left_out(&call);
    }
}

int LLVMFuzzerInitialize(int *count, char ***words)
{
    (void)count, (void)words;
    setenv("LAYERPACK_TRACE", "/dev/null", 1);
    lp_locks_start();
    lp_trace_start();
    lp_contexts_start();
    lp_call4(SYS_sigaltstack, 0, (long)&signal_stack, 0, 0);
    taken_count = 0;
    image = lp_mmap(HOLES + ROOM, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    if (size < 1 || size > ROOM)
        return 0;
    uint8_t kind = *input++;
    size--;
    mmap(image, HOLES + ROOM, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    uint8_t *index = image + HOLES;
    mprotect(index, (size + LP_PAGE) & ~(size_t)(LP_PAGE - 1), PROT_READ | PROT_WRITE);
    memcpy(index, input, size);
    struct lp_index *header = (void *)index;
    if (!(kind & CHECKSUM_IS_LEFT) && size >= sizeof *header && header->size <= size &&
        header->size >= sizeof *header)
        header->checksum = lp_checksum(index + 16, header->size - 16);
    __asan_poison_memory_region(index + size, ROOM - size);
    lp_tracing = kind & TRACES;

    /* The first part, of which a page is there, for what is left out of it. */
    mprotect(image, LP_PAGE, PROT_READ | PROT_WRITE);
    memset(image, 0xF4, LP_PAGE);
    const ElfW(Phdr) headers[] = {
        {.p_type = PT_LOAD, .p_vaddr = 0, .p_memsz = LP_PAGE, .p_filesz = LP_PAGE},
        {.p_type = PT_LOAD, .p_vaddr = HOLES, .p_memsz = size, .p_filesz = size},
        {.p_type = LP_PT_INDEX, .p_vaddr = HOLES, .p_filesz = size},
    };
    struct dl_phdr_info object = {
        .dlpi_addr = (uintptr_t)image, .dlpi_name = "", .dlpi_phdr = headers, .dlpi_phnum = 3};
    const struct search search = {.all = true};
    if (setjmp(refused) == 0) {
        add_packed(&object, &search);
        use_all(&libraries[0]);
    }
    release();
    return 0;
}
