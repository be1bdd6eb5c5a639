/* Fresh memory for what comes in, also in a process that has reached its limit on address space. */
#include <stddef.h>
#include <sys/mman.h>

#include "pager.h"

/* Address space that such a process has left: what comes in takes it, and then the place of a hole,
 * so that there is room for as much again. Writable and never written to: a limit on data
 * (RLIMIT_DATA) counts it, too. */
static void *volatile reserve;
#define RESERVE_SIZE (1024 * 1024) /* the largest window or block */

static void *map(size_t size, int flags)
{
    void *memory =
        lp_mmap(size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags);
    return lp_failed(memory) ? NULL : memory;
}

void lp_fresh_start(void)
{
    reserve = map(RESERVE_SIZE, MAP_NORESERVE);
}

struct lp_fresh lp_fresh_take(size_t size)
{
    const struct timespec moment = {.tv_nsec = 1000000};
    /* All of it is written to in a moment: one call is cheaper than a fault for each page. */
    struct lp_fresh fresh = {.memory = map(size, MAP_POPULATE)};
    if (fresh.memory != NULL)
        return fresh;
    /* Held until the bytes are placed, so that only one thread is in need at a time. */
    lp_take(&lp_shared->reserve);
    fresh.has_reserve = true;
    /* Forgotten first: the child of a fork between the two would let go of what has come to lie
     * there since. This way it merely never gets the address space back. */
    uint8_t *spare = reserve;
    reserve = NULL;
    if (spare != NULL && size <= RESERVE_SIZE) {
        lp_munmap(spare + size, RESERVE_SIZE - size);
        fresh.memory = spare;
    }
    /* Another thread may have taken the place of the last one, for a while. */
    for (int i = 0; fresh.memory == NULL && i < 100; i++) {
        if ((fresh.memory = map(size, MAP_POPULATE)) == NULL)
            lp_call4(SYS_nanosleep, (long)&moment, 0, 0, 0);
    }
    return fresh;
}

void lp_fresh_placed(const struct lp_fresh *fresh)
{
    if (!fresh->has_reserve)
        return;
    lp_fresh_start();
    lp_give(&lp_shared->reserve);
}
