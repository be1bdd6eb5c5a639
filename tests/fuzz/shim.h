/* Put before each source of the pager that a fuzz target is made of (`-include`): memory that the
 * pager takes is known to the harness, which frees it after each input, and no page is moved to a
 * place outside of the library. */
#include "sys.h"

void *shim_mmap(size_t size, int protection, int flags);
long shim_call6(long number, long a, long b, long c, long d, long e, long f);

#define lp_mmap shim_mmap
#define lp_call6 shim_call6
