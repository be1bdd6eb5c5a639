/* What is left out, what stays beside it, and ways to miss it: functions of the library, so that
 * they run paged code too. Compiled behind the filler, which has `call`. */
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <pthread.h>
#include <signal.h>
#include <stdexcept>
#include <string>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

/* Without stdio, since handlers call it too. */
static void say(const char *text) { if (write(1, text, strlen(text)) < 0) _exit(9); }
static void say_number(const char *text, unsigned long number) {
    char line[100];
    snprintf(line, sizeof line, "%s %lx\n", text, number);
    say(line);
}

extern "C" {

/* ---- one directly behind the other, on one page ---- */

__attribute__((aligned(2048))) uint64_t before(uint64_t x) { return call(3, x) + 1; }
uint64_t gone(uint64_t x) {
    for (int i = 0; i < 5; i++) x = x * 31 + (x >> 3);
    return x;
}
uint64_t between(uint64_t x) { return x * 7 + 5; }
uint64_t gone_too(uint64_t x) { return x * 9 + 3; }
uint64_t nameless(uint64_t x) { return x * 11 + 4; }
uint64_t after(uint64_t x) { return x * 13 + 6; }

__attribute__((noinline, visibility("hidden"))) uint64_t hidden(uint64_t x) { return x ^ 99; }

/* ---- ways to miss it; `returned` is what must not be seen ---- */

static uint64_t (*volatile const table[])(uint64_t) = {before, gone, between, after};
static volatile uint64_t returned;

void directly(void) { say("calls\n"); returned = hidden(1); }
void from_elsewhere(void) { say("calls\n"); returned = gone_too(1); }
void without_a_name(void) { say("calls\n"); returned = nameless(1); }
void by_pointer(void) { say("calls\n"); returned = table[1](1); }
void into_its_middle(void) {
    say("calls\n");
#ifdef __x86_64__
    returned = ((uint64_t (*)(uint64_t))((char *)table[1] + 5))(1);
#else
    returned = ((uint64_t (*)(uint64_t))((char *)table[1] + 8))(1);
#endif
}
void in_a_thread(void) {
    say("calls\n");
    std::thread([] { returned = table[1](1); }).join();
}
void in_many_threads(void) {
    enum { THREADS = 16 };
    std::vector<std::thread> threads;
    pthread_barrier_t barrier;
    pthread_barrier_init(&barrier, NULL, THREADS);
    say("calls\n");
    for (int i = 0; i < THREADS; i++)
        threads.emplace_back([&] { pthread_barrier_wait(&barrier); returned = table[1](1); });
    for (auto &thread : threads) thread.join();
}

static void handle(int number, siginfo_t *info, void *) {
    say_number("handler of signal", number + (call(100, 2) == 0));
    say_number("code", info->si_code);
    say_number("address", (unsigned long)info->si_addr);
    _exit(7);
}
static void handle_all(void) {
    static char memory[1 << 16];
    stack_t stack = {};
    stack.ss_sp = memory, stack.ss_size = sizeof memory;
    sigaltstack(&stack, NULL);
    struct sigaction action = {};
    action.sa_sigaction = handle;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    for (int number : {SIGSEGV, SIGBUS, SIGILL, SIGTRAP, SIGABRT}) sigaction(number, &action, NULL);
}
void with_handlers(void) { handle_all(); by_pointer(); }
void while_ignored(void) {
    for (int number : {SIGSEGV, SIGABRT}) signal(number, SIG_IGN);
    by_pointer();
}
void while_blocked(void) {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
    by_pointer();
}
static void calls(int) { by_pointer(); }
void in_a_handler(void) {
    handle_all();
    struct sigaction action = {};
    action.sa_handler = calls;
    action.sa_flags = SA_ONSTACK;
    sigaction(SIGUSR1, &action, NULL);
    raise(SIGUSR1);
}
void in_a_child(void) {
    int status = 0;
    pid_t child = fork();
    if (child == 0) { by_pointer(); _exit(0); }
    waitpid(child, &status, 0);
    say_number("child ended by signal", WTERMSIG(status));
    say_number("before", before(2));
    say_number("after", after(3));
}

/* What stays, and what is left of the page. */
void kept(void) {
    for (uint64_t x = 0; x < 50; x++) {
        say_number("before", before(x << 40 | x));
        say_number("between", between(x << 40 | x));
        say_number("after", after(x << 40 | x));
    }
}

/* ---- crashes that are the program's own ---- */

static volatile uint64_t *volatile nowhere = (uint64_t *)16;
void null_read(void) { handle_all(); returned = *nowhere; }
void null_call(void) { handle_all(); ((void (*)(void))(void *)(nowhere - 2))(); }
#ifdef __x86_64__
/* What HLT raises: general protection faults, without an address. */
void wild_read(void) { handle_all(); returned = *(volatile uint64_t *)(1ul << 63); }
void privileged(void) { handle_all(); __asm__ volatile("hlt"); }
#endif

/* ---- exceptions: `thrower` is told, the other four are left out ---- */

/* A thread that was told to wait before it copies the text lets another one throw meanwhile. */
static pthread_barrier_t holding, going_on;
void thrower(const char *text) {
    if (strstr(text, "held") != NULL) {
        pthread_barrier_wait(&holding);
        pthread_barrier_wait(&going_on);
    }
    throw std::runtime_error(text);
}
void plain(const void *, const void *) { say("plain\n"); }
void first(const void *, const void *) { say("first\n"); }
void second(const void *, const void *) { say("second\n"); }
void deep(const void *, const void *) { say("deep\n"); }

}

struct Frame {
    int *count;
    ~Frame() { *count += call(5, 1) != 0; }
};
static void (*volatile const missing[])(const void *, const void *) = {plain, first, second, deep};
static __attribute__((noinline)) int frames(int depth, int *count, int which, const void *one,
                                            const void *two) {
    Frame frame{count};
    if (depth > 0) return frames(depth - 1, count, which, one, two) + 1;
    missing[which](one, two);
    return 1;
}

/* How many destructors ran, and the exception's text; -1 without an exception. */
extern "C" int caught(int which, const void *one, const void *two, char *text, size_t size) {
    int count = 0;
    try {
        frames(20, &count, which, one, two);
    } catch (const std::runtime_error &error) {
        snprintf(text, size, "%s", error.what());
        return count;
    }
    return -1;
}

/* Whether it throws with the text for `name`, past 21 frames. */
static bool told(const std::string &name) {
    char text[400];
    return caught(1, name.c_str(), NULL, text, sizeof text) == 21 &&
           text == "misses " + name + " here";
}

/* How many of the exceptions that threads throw at once have another's text. */
extern "C" int mixed_up(int threads, int rounds) {
    std::vector<std::thread> all;
    std::vector<int> wrong(threads);
    pthread_barrier_t barrier;
    pthread_barrier_init(&barrier, NULL, threads);
    for (int i = 0; i < threads; i++)
        all.emplace_back([&, i] {
            for (int round = 0; round < rounds; round++) {
                pthread_barrier_wait(&barrier);
                /* Of different lengths. */
                std::string name = "of_" + std::to_string(i) + std::string(round % 50, '_');
                wrong[i] += !told(name + std::to_string(round));
            }
        });
    for (auto &thread : all) thread.join();
    int sum = 0;
    for (int one : wrong) sum += one;
    return sum;
}

/* The same, where one thread has not yet copied its text while another one throws many, or as many
 * threads throw one each. */
extern "C" int mixed_up_while_held(int rounds, int by_threads) {
    int wrong = 0;
    bool held = false;
    pthread_barrier_init(&holding, NULL, 2);
    pthread_barrier_init(&going_on, NULL, 2);
    std::thread one([&] { held = told("held"); });
    pthread_barrier_wait(&holding);
    for (int round = 0; round < rounds; round++) {
        auto other = [&] { wrong += !told("other_" + std::to_string(round)); };
        if (by_threads) std::thread(other).join();
        else other();
    }
    pthread_barrier_wait(&going_on);
    one.join();
    return wrong + !held;
}

/* Writes what an exception says for each way to tell a name, and none. */
extern "C" void exceptions(void) {
    const char *name = "Some.Name_1";
    const void *const *one = (const void *const *)&name, *const *two = (const void *const *)&one;
    const struct { int which; const void *one, *two; } cases[] = {
        {0, name, name}, {1, name, NULL}, {2, NULL, one}, {3, two, NULL},
        {1, NULL, NULL}, {2, NULL, NULL}, {1, "some name", NULL}, {1, "", NULL},
        {2, NULL, (const char *)one + 1}, {1, (const void *)0x123456789000, NULL},
        {3, (const void *)0x123456789000, NULL},
    };
    for (const auto &each : cases) {
        char text[200];
        int count = caught(each.which, each.one, each.two, text, sizeof text);
        say_number(text, count);
    }
    say_number("mixed up", mixed_up(8, 20) + mixed_up_while_held(70, 0));
}
