/* Fresh memory for what comes in, also in a process that has reached its limit on address space. */
#include <stddef.h>
#include <sys/mman.h>

#include "pager.h"

/* Address space that is let go just before bytes are decompressed. Afterwards there is room for it
 * again, since what has come in replaces a hole. */
static void *volatile reserve;
#define RESERVE_SIZE (1024 * 1024) /* the largest window or block for which that works */

void lp_fresh_start(void)
{
    void *memory = lp_mmap(RESERVE_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS);
    reserve = lp_failed(memory) ? NULL : memory;
}

struct lp_fresh lp_fresh_take(size_t size)
{
    /* All of it is written to in a moment: one call is cheaper than a fault for each page. */
    const int kind = MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE;
    const int writable = PROT_READ | PROT_WRITE;
    struct lp_fresh fresh = {.memory = lp_mmap(size, writable, kind)};
    if (!lp_failed(fresh.memory))
        return fresh;
    /* Held until the bytes are placed, so that only one thread is in need at a time. */
    lp_take(&lp_shared->reserve);
    fresh.has_reserve = true;
    /* Forgotten first: the child of a fork between the two would let go of what has come to lie
     * there since. This way it merely never gets the address space back. */
    void *spare = reserve;
    reserve = NULL;
    if (spare != NULL)
        lp_munmap(spare, RESERVE_SIZE);
    fresh.memory = lp_mmap(size, writable, kind);
    if (lp_failed(fresh.memory))
        fresh.memory = NULL;
    return fresh;
}

void lp_fresh_placed(const struct lp_fresh *fresh)
{
    if (!fresh->has_reserve)
        return;
    lp_fresh_start();
    lp_give(&lp_shared->reserve);
}
