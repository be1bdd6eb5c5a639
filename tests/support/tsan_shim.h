/* Before each source of the pager that is compiled with the thread sanitizer: it must learn of memory
 * that is new, or it takes what an earlier window at the same address was written by for a race. */
#include <errno.h>
#include <sys/mman.h>

#include "sys.h"

static inline void *seen_mmap(size_t size, int protection, int flags)
{
    int before = errno;
    void *memory = mmap(0, size, protection, flags, -1, 0);
    if (memory == MAP_FAILED)
        memory = (void *)-(intptr_t)errno;
    errno = before;
    return memory;
}

#define lp_mmap seen_mmap
