/* storm <packed> <original> <how processes start> <how many>: page-ins by many threads. */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 32 };
static uint64_t (*call)(int, uint64_t);
static uint64_t expected[FUNCTIONS];
static pthread_barrier_t gate;
static _Atomic int stop, wrong;

static void check(int i) { if (call(i, 7) != expected[i]) wrong++; }

/* All threads touch one function after the other, at the same time. */
static void *together(void *unused) {
    for (int i = 0; i < FUNCTIONS; i++) { pthread_barrier_wait(&gate); check(i); }
    return unused;
}
static void *anywhere(void *seed) {
    unsigned state = (unsigned)(uintptr_t)seed;
    while (!stop) check(rand_r(&state) % FUNCTIONS);
    return NULL;
}
static int in_child(void) {
    for (int i = FUNCTIONS - 1; i >= 0; i--) check(i);
    _exit(wrong ? 1 : 0);
}
static void wait_for(pid_t child) {
    int status;
    if (waitpid(child, &status, 0) != child || status != 0) wrong++;
}

int main(int argc, char **argv) {
    void *original = dlopen(argv[2], RTLD_NOW | RTLD_LOCAL);
    uint64_t (*oracle)(int, uint64_t) = (void *)dlsym(original, "call");
    for (int i = 0; i < FUNCTIONS; i++) expected[i] = oracle(i, 7);
    void *library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) { fprintf(stderr, "%s\n", dlerror()); return 2; }
    call = (void *)dlsym(library, "call");
    pthread_t threads[THREADS];
    int storm = strcmp(argv[3], "together") != 0;
    pthread_barrier_init(&gate, NULL, THREADS);
    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, storm ? anywhere : together, (void *)(uintptr_t)(i + 1));
    if (storm)
        for (int i = 0; i < atoi(argv[4]); i++) {
            pid_t child;
            if (strcmp(argv[3], "fork") == 0) {
                if ((child = fork()) == 0) in_child();
            } else if (strcmp(argv[3], "clone") == 0) {
                if ((child = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0)) == 0) in_child();
            } else if (strcmp(argv[3], "vfork") == 0) {
                if ((child = vfork()) == 0) {
                    check(i);
                    execl("/bin/true", "true", NULL);
                    _exit(1);
                }
            } else {
                char *words[] = {"true", NULL};
                if (posix_spawn(&child, "/bin/true", NULL, NULL, words, NULL) != 0) return 3;
            }
            wait_for(child);
        }
    stop = 1;
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    for (int i = 0; i < FUNCTIONS; i++) check(i);
    printf("%d wrong\n", wrong);
    fflush(stdout);
    _exit(0);
}
