/* For the targets that take no memory, or do nothing with it. */
#include "sys.h"

void *shim_mmap(size_t size, int protection, int flags);
long shim_call6(long number, long a, long b, long c, long d, long e, long f);

void *shim_mmap(size_t size, int protection, int flags)
{
    return lp_mmap(size, protection, flags);
}

long shim_call6(long number, long a, long b, long c, long d, long e, long f)
{
    return lp_call6(number, a, b, c, d, e, f);
}
