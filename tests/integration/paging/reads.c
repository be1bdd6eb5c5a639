/* reads <packed> <original> <start> <pages>...: threads, and then a child of fork, read the pages at
 * these addresses of the file and compare them with the original's. Code is read, not run: valgrind
 * translates what is run, and reads ahead itself as it does, where it takes no fault. */
#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 8, PAGE = 4096, MOST = 4096 };
static const char *packed, *original;
static size_t places[MOST], count;
static pthread_barrier_t gate;
static _Atomic int wrong;

static const char *base_of(const char *path) {
    struct link_map *map = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (map == NULL) { fprintf(stderr, "%s\n", dlerror()); exit(2); }
    return (const char *)map->l_addr;
}
static void check(size_t i) {
    if (memcmp(packed + places[i], original + places[i], PAGE) != 0) wrong++;
}
/* The first half of them at the same time as all others, the rest in another order. */
static void *read_all(void *seed) {
    unsigned state = (unsigned)(uintptr_t)seed;
    for (size_t i = 0; i < count / 2; i++) { pthread_barrier_wait(&gate); check(i); }
    for (size_t i = 0; i < count / 2; i++) check(count / 2 + rand_r(&state) % (count - count / 2));
    return NULL;
}

int main(int argc, char **argv) {
    pthread_t threads[THREADS];
    int status = 0;
    original = base_of(argv[2]);
    packed = base_of(argv[1]);
    for (int i = 3; i + 1 < argc; i += 2)
        for (size_t k = 0; k < strtoul(argv[i + 1], NULL, 0) && count < MOST; k++)
            places[count++] = strtoul(argv[i], NULL, 0) + k * PAGE;
    pthread_barrier_init(&gate, NULL, THREADS);
    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, read_all, (void *)(uintptr_t)(i + 1));
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    pid_t child = fork();
    for (size_t i = 0; i < count; i++) check(i);
    if (child == 0) _exit(wrong != 0);
    waitpid(child, &status, 0);
    printf("%zu pages, %d wrong, child %d\n", count, wrong, status);
    return 0;
}
