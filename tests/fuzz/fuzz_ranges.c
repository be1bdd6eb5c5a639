/* The ranges: of any numbers that an index may hold, the pager finds for an address and for a page
 * the first range that has it, and none where none has. The oracle counts in 128 bits, page by page
 * of the ranges' ends. */
#include <stdlib.h>

#include "registry.c"

typedef unsigned __int128 wide;

static const struct lp_range *expected_at(const struct lp_library *library, uint64_t vaddr)
{
    for (uint32_t i = 0; i < library->index->range_count; i++) {
        const struct lp_range *range = &library->ranges[i];
        if (vaddr >= range->vaddr && (wide)vaddr < (wide)range->vaddr + (wide)range->pages * LP_PAGE)
            return range;
    }
    return NULL;
}

static const struct lp_range *expected_of_page(const struct lp_library *library, uint32_t page)
{
    for (uint32_t i = 0; i < library->index->range_count; i++) {
        const struct lp_range *range = &library->ranges[i];
        if (page >= range->first_page && (wide)page < (wide)range->first_page + range->pages)
            return range;
    }
    return NULL;
}

static void check(const struct lp_library *library, uint64_t vaddr, uint32_t page)
{
    if (lp_range_at(library, library->base + vaddr) != expected_at(library, vaddr) ||
        lp_range_of_page(library, page) != expected_of_page(library, page))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    struct lp_index index = {.range_count = 0};
    struct lp_range ranges[32];
    uint64_t base;
    if (size < sizeof base)
        return 0;
    memcpy(&base, input, sizeof base);
    size_t count = (size - sizeof base) / sizeof *ranges;
    count = count < 32 ? count : 32;
    memcpy(ranges, input + sizeof base, count * sizeof *ranges);
    index.range_count = (uint32_t)count;
    struct lp_library library = {.base = base, .index = &index, .ranges = ranges};
    for (size_t i = 0; i < count; i++)
        for (int64_t near = -1; near <= 1; near++) {
            uint64_t end = ranges[i].vaddr + (uint64_t)ranges[i].pages * LP_PAGE;
            check(&library, ranges[i].vaddr + (uint64_t)near, ranges[i].first_page + (uint32_t)near);
            check(&library, end + (uint64_t)near,
                  ranges[i].first_page + ranges[i].pages + (uint32_t)near);
        }
    return 0;
}
