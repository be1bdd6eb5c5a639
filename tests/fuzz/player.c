/* player <library>...: does what lines on its standard input say, and answers each with a line.
 *
 * What it answers depends on the lines alone, not on how the libraries are stored. Functions are
 * numbered, 0 up to FUNCTIONS; threads 0 up to THREADS, libraries as the arguments. */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 4, LIBRARIES = 3, MOST = 64 };
typedef uint64_t (*function)(int, uint64_t);
extern char **environ;

static char **paths;
static struct library { void *handle; function call; void *(*address)(int); } libraries[LIBRARIES];

/* ---- work, and the threads that do it ---- */

struct work {
    int library, count, numbers[MOST];
    int masked;                   /* with all signals blocked */
    uint64_t sum;
};
static struct thread {
    pthread_t id;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct work *work;            /* NULL where there is none */
} threads[THREADS];

static uint64_t sum_of(const struct library *library, const int *numbers, int count) {
    uint64_t sum = 0;
    for (int i = 0; i < count; i++) sum = sum * 31 + library->call(numbers[i], 7);
    return sum;
}
static void do_work(struct work *work) {
    sigset_t all, before;
    sigfillset(&all);
    if (work->masked) pthread_sigmask(SIG_SETMASK, &all, &before);
    work->sum = sum_of(&libraries[work->library], work->numbers, work->count);
    if (work->masked) pthread_sigmask(SIG_SETMASK, &before, NULL);
}
static void *serve(void *argument) {
    struct thread *thread = argument;
    stack_t stack = {.ss_sp = malloc(65536), .ss_size = 65536};
    sigaltstack(&stack, NULL);
    pthread_mutex_lock(&thread->mutex);
    for (;;) {
        while (thread->work == NULL) pthread_cond_wait(&thread->changed, &thread->mutex);
        struct work *work = thread->work;
        pthread_mutex_unlock(&thread->mutex);
        do_work(work);
        pthread_mutex_lock(&thread->mutex);
        thread->work = NULL;
        pthread_cond_broadcast(&thread->changed);
    }
    return NULL;
}
static void begin(struct thread *thread, struct work *work) {
    pthread_mutex_lock(&thread->mutex);
    thread->work = work;
    pthread_cond_broadcast(&thread->changed);
    pthread_mutex_unlock(&thread->mutex);
}
static void wait_for(struct thread *thread) {
    pthread_mutex_lock(&thread->mutex);
    while (thread->work != NULL) pthread_cond_wait(&thread->changed, &thread->mutex);
    pthread_mutex_unlock(&thread->mutex);
}

/* ---- lines ---- */

static int words(char *line, char **found) {
    int count = 0;
    for (char *at = strtok(line, " \n"); at != NULL && count < MOST + 8; at = strtok(NULL, " \n"))
        found[count++] = at;
    return count;
}
/* Byte by byte: what follows is the next program's after exec. */
static int read_line(char *line, int room) {
    int count = 0;
    char byte;
    while (count < room - 1 && read(0, &byte, 1) == 1) {
        line[count++] = byte;
        if (byte == '\n') break;
    }
    line[count] = '\0';
    return count > 0;
}
static void answer(const char *what, uint64_t number) {
    char line[100];
    int size = snprintf(line, sizeof line, "%s %lx\n", what, number);
    if (write(1, line, size) != size) _exit(9);
}
static void numbers_of(struct work *work, char **found, int count) {
    work->count = count;
    for (int i = 0; i < count; i++) work->numbers[i] = atoi(found[i]);
}

static void open_library(int number) {
    struct library *library = &libraries[number];
    library->handle = dlopen(paths[number], RTLD_NOW | RTLD_LOCAL);
    if (library->handle == NULL) { fprintf(stderr, "%s\n", dlerror()); _exit(3); }
    library->call = (function)dlsym(library->handle, "call");
    library->address = (void *(*)(int))dlsym(library->handle, "address");
}
/* All threads at once, each in another order. */
static void burst(int library, int seed, int count) {
    struct work works[THREADS] = {{0}};
    uint64_t sum = 0;
    for (int t = 0; t < THREADS; t++) {
        unsigned state = seed + t;
        works[t].library = library;
        works[t].count = count;
        works[t].masked = t == 0;
        for (int i = 0; i < count; i++) works[t].numbers[i] = rand_r(&state) % FUNCTIONS;
        begin(&threads[t], &works[t]);
    }
    for (int t = 0; t < THREADS; t++) {
        wait_for(&threads[t]);
        sum = sum * 31 + works[t].sum;
    }
    answer("burst", sum);
}
/* A process that touches functions, while the other threads touch the same. */
static void start_process(const char *way, char **found, int count) {
    struct work own = {.library = atoi(found[0])}, others[THREADS];
    pid_t child = -1;
    int status = 0;
    numbers_of(&own, found + 1, count - 1);
    for (int t = 0; t < THREADS; t++) {
        others[t] = own;
        begin(&threads[t], &others[t]);
    }
    if (strcmp(way, "spawn") == 0) {
        char *arguments[MOST + 8] = {"player", "-once", paths[own.library]};
        for (int i = 1; i < count; i++) arguments[2 + i] = found[i];
        if (posix_spawn(&child, "/proc/self/exe", NULL, NULL, arguments, environ) != 0) _exit(4);
    } else {
        child = strcmp(way, "fork") == 0   ? fork()
                : strcmp(way, "vfork") == 0 ? vfork()
                                            : (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
        if (child == 0)
            _exit((int)(sum_of(&libraries[own.library], own.numbers, own.count) & 127));
    }
    waitpid(child, &status, 0);
    for (int t = 0; t < THREADS; t++) wait_for(&threads[t]);
    answer(way, (uint64_t)status << 32 | (others[0].sum & 0xffffffff));
}

/* ---- signals ---- */

static sigjmp_buf back;
static struct work handlers_work;
static _Atomic int handled;

static void on_sent(int number) {
    handlers_work.sum = sum_of(&libraries[handlers_work.library], handlers_work.numbers, 1);
    handled++;
    (void)number;
}
static void leave(int number) { siglongjmp(back, number); }

/* Sends a signal to a thread while it works; the handler calls a function too. */
static void interrupt(int thread, int number, int flags, char **found, int count) {
    struct work work = {.library = atoi(found[1])};
    struct sigaction action = {.sa_handler = on_sent, .sa_flags = flags}, before;
    numbers_of(&work, found + 2, count - 2);
    handlers_work.library = work.library;
    handlers_work.numbers[0] = atoi(found[0]);
    handled = 0;
    sigfillset(&action.sa_mask);
    sigaction(number, &action, &before);
    begin(&threads[thread], &work);
    pthread_kill(threads[thread].id, number);
    wait_for(&threads[thread]);
    /* The kernel keeps one signal of a kind for a thread: sent while it is about to tell of a missing
     * page, SIGSEGV is lost. */
    for (int i = 1; !handled; i++) {
        usleep(100);
        if (number == SIGSEGV && i % 10000 == 0) pthread_kill(threads[thread].id, number);
    }
    sigaction(number, &before, NULL);
    answer("interrupted", work.sum * 31 + handlers_work.sum);
}
/* Takes the rights of code that is there away, and gives them back. */
static void protect(int number, int which) {
    struct library *library = &libraries[number];
    uint64_t before = library->call(which, 7);
    uintptr_t page = (uintptr_t)library->address(which) & ~(uintptr_t)4095;
    struct sigaction action = {.sa_handler = leave}, old;
    volatile int denied = 0;
    sigaction(SIGSEGV, &action, &old);
    mprotect((void *)page, 4096, PROT_NONE);
    if (sigsetjmp(back, 1) == 0) library->call(which, 7);
    else denied = 1;
    mprotect((void *)page, 4096, PROT_READ | PROT_EXEC);
    sigaction(SIGSEGV, &old, NULL);
    answer("protected", (uint64_t)denied + 2 * (library->call(which, 7) == before));
}
static void null_pointer(void) {
    struct sigaction action = {.sa_handler = leave}, old;
    volatile uint64_t caught = 0;
    sigaction(SIGSEGV, &action, &old);
    if (sigsetjmp(back, 1) == 0) *(volatile int *)(uintptr_t)NULL = 1;
    else caught = 1;
    sigaction(SIGSEGV, &old, NULL);
    answer("caught", caught);
}

static int once(char **found, int count) {
    struct work work = {.library = 0};
    paths = found;
    open_library(0);
    numbers_of(&work, found + 1, count - 1);
    do_work(&work);
    return (int)(work.sum & 127);
}

int main(int argc, char **argv) {
    static char line[4096];
    char *found[MOST + 8];
    if (argc > 2 && strcmp(argv[1], "-once") == 0) return once(argv + 2, argc - 2);
    paths = argv + 1;
    for (int t = 0; t < THREADS; t++) {
        pthread_mutex_init(&threads[t].mutex, NULL);
        pthread_cond_init(&threads[t].changed, NULL);
        pthread_create(&threads[t].id, NULL, serve, &threads[t]);
    }
    while (read_line(line, sizeof line)) {
        int count = words(line, found);
        const char *what = count > 0 ? found[0] : "";
        if (strcmp(what, "open") == 0) {
            open_library(atoi(found[1]));
            answer("opened", 0);
        } else if (strcmp(what, "close") == 0) {
            answer("closed", dlclose(libraries[atoi(found[1])].handle));
        } else if (strcmp(what, "touch") == 0 || strcmp(what, "masked") == 0) {
            struct work work = {.library = atoi(found[2]), .masked = *what == 'm'};
            numbers_of(&work, found + 3, count - 3);
            begin(&threads[atoi(found[1])], &work);
            wait_for(&threads[atoi(found[1])]);
            answer("touched", work.sum);
        } else if (strcmp(what, "burst") == 0) {
            burst(atoi(found[1]), atoi(found[2]), atoi(found[3]));
        } else if (strcmp(what, "process") == 0) {
            start_process(found[1], found + 2, count - 2);
        } else if (strcmp(what, "interrupt") == 0) {
            interrupt(atoi(found[1]), atoi(found[2]), atoi(found[3]), found + 4, count - 4);
        } else if (strcmp(what, "protect") == 0) {
            protect(atoi(found[1]), atoi(found[2]));
        } else if (strcmp(what, "null") == 0) {
            null_pointer();
        } else if (strcmp(what, "exec") == 0) {
            answer("executed", 0);
            execv("/proc/self/exe", argv);
            _exit(5);
        } else {
            _exit(6);
        }
    }
    return 0;
}
