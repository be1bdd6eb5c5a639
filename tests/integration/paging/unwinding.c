/* What asks the loader, or an unwinder, for the library that an address lies in: its own code does.
 * Compiled behind the filler, which has `call`; without a constructor, so that nothing of it has
 * run when a program asks first. With LLVM's libunwind or GCC's. */
#include <dlfcn.h>
#include <stdio.h>
#include <unwind.h>

/* Pages around this code: the first and the last page of code are never paged. */
__asm__(".pushsection .text\n.skip 12288\n.popsection\n"
        ".pushsection .text.last,\"ax\"\n.skip 12288\n.popsection");

/* By the folder that the library names (DT_RUNPATH), which dlopen takes from who calls it. */
int opens(const char *name) {
    void *found = dlopen(name, RTLD_NOW);
    if (found == NULL) fprintf(stderr, "%s\n", dlerror());
    return found != NULL;
}

/* The library behind this one, which dlsym takes from who calls it, too. */
int finds_next(const char *name) {
    void *found = dlsym(RTLD_NEXT, name);
    if (found == NULL) fprintf(stderr, "%s\n", dlerror());
    return found != NULL;
}

struct frames { void *function; int own, all; };

static _Unwind_Reason_Code count(struct _Unwind_Context *context, void *data) {
    struct frames *frames = data;
    void *place = (char *)_Unwind_GetIP(context) - 1;
    frames->own += _Unwind_FindEnclosingFunction(place) == frames->function;
    frames->all++;
    return _URC_NO_REASON;
}

static __attribute__((noinline)) int descend(int depth, struct frames *frames) {
    if (depth == 0) _Unwind_Backtrace(count, frames);
    else descend(depth - 1, frames);
    /* No jump to what was called. */
    __asm__ volatile("");
    return frames->own;
}

int frames(int depth) {
    struct frames frames = {.function = (void *)descend};
    return descend(depth, &frames);
}
