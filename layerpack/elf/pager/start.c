/* The pager's constructor. The loader runs it before those of the libraries that need the pager. */
#include "pager.h"

__attribute__((constructor)) static void start(void)
{
    lp_locks_start();
    lp_trace_start();
    lp_contexts_start();
    lp_fresh_start();
    lp_masks_start();
    lp_fault_start();
    lp_registry_start();
    lp_data_start();
}
