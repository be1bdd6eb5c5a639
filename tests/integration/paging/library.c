/* What runs paged code at odd times: constructors, threads, exit handlers.
 * Compiled behind the filler, which has `call`; library.cc is the same in C++, with exceptions. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static uint64_t from_thread;
static pthread_t started;
static pthread_key_t local;

static void at_exit(void) { printf("exit %lx\n", (unsigned long)call(FUNCTIONS - 1, 1)); }
static void *first(void *none) { from_thread = call(3, 4); return none; }
static void *second(void *none) { pthread_setspecific(local, &local); return none; }
static void thread_ends(void *value) { (void)value; from_thread += call(77, 9); }

__attribute__((constructor)) static void start(void) {
    pthread_key_create(&local, thread_ends);
    pthread_create(&started, NULL, first, NULL);
    atexit(at_exit);
}
__attribute__((destructor)) static void end(void) {
    printf("destructor %lx\n", (unsigned long)call(FUNCTIONS / 2, 5));
}

uint64_t constructed(void) {
    pthread_t other;
    pthread_join(started, NULL);
    pthread_create(&other, NULL, second, NULL);
    pthread_join(other, NULL);
    return from_thread;
}
