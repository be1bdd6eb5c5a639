/* Loads a library of code that may be paged, calls one function of it, then loads a plain library
 * that asks for signals, and calls all the code. At last it crashes. Arguments: both libraries. */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

typedef uint64_t (*function)(int, uint64_t);

static void *open_or_end(const char *path) {
    void *library = dlopen(path, RTLD_LAZY);
    if (library == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        _exit(2);
    }
    return library;
}

int main(int argc, char **argv) {
    function call;
    void (*work)(function, int);
    uint64_t sum = 0;
    if (argc != 3) return 3;
    call = (function)dlsym(open_or_end(argv[1]), "call");
    printf("%lx\n", call(0, 3));
    work = (void (*)(function, int))dlsym(open_or_end(argv[2]), "work");
    if (work != NULL) work(call, FUNCTIONS);
    for (int i = 0; i < FUNCTIONS; i++) sum = sum * 31 + call(i, 3);
    printf("%lx\n", sum);
    fflush(stdout);
    *(volatile int *)16 = 1;
    return 0;
}
