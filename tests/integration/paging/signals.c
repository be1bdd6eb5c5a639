/* Scenarios: functions of the library, so that their calls of signal functions are imports that
 * packing redirects. Compiled behind the filler, which has `call` and f0, f1, ... */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/time.h>
#include <ucontext.h>
#include <unistd.h>

/* Without stdio, since handlers call it too. */
static void say(const char *text) { if (write(1, text, strlen(text)) < 0) _exit(9); }
static void say_number(const char *text, long number) {
    char line[100];
    snprintf(line, sizeof line, "%s %ld\n", text, number);
    say(line);
}
static volatile int *volatile nowhere = (int *)16;
static sigjmp_buf back;
static volatile int handled;

static void leave(int number) { call(number + handled % 300, 1); handled++; siglongjmp(back, 1); }
static void end(int number) { say_number("handler", number + (call(100, 2) == 0)); _exit(7); }
static void info_end(int number, siginfo_t *info, void *context) {
    say_number("address", (long)info->si_addr);
    say_number("code", info->si_code);
    sigset_t now;
    pthread_sigmask(SIG_BLOCK, NULL, &now);
    say_number("usr1 blocked", sigismember(&now, SIGUSR1));
    say_number("itself blocked", sigismember(&now, number));
    (void)context;
    _exit(8);
}

void crash(void) { say("crash\n"); *nowhere = 1; }
void crash_call(void) { say("call\n"); ((void (*)(void))(void *)nowhere)(); }
void write_absent(void) { say("write\n"); *(volatile char *)(void *)f500 = 1; }
void write_present(void) { call(500, 1); write_absent(); }
void run_data(void) {
    static char data[64];
    say("data\n");
    ((void (*)(void))(void *)data)();
}
void raised(void) { say("raise\n"); raise(SIGSEGV); say("not reached\n"); }
void raised_ignored(void) {
    signal(SIGSEGV, SIG_IGN);
    raise(SIGSEGV);
    say("ignored\n");
    kill(getpid(), SIGBUS);
    say("not reached\n");
}
void ignored_fault(void) { signal(SIGSEGV, SIG_IGN); crash(); }
void by_signal(void) {
    say_number("default", signal(SIGSEGV, end) == SIG_DFL);
    say_number("ours", signal(SIGSEGV, end) == end);
    call(200, 1);
    crash();
}
void by_sigaction(void) {
    struct sigaction action = {.sa_sigaction = info_end, .sa_flags = SA_SIGINFO}, old;
    sigaddset(&action.sa_mask, SIGUSR1);
    say_number("set", sigaction(SIGSEGV, &action, NULL));
    call(210, 1);
    say_number("get", sigaction(SIGSEGV, NULL, &old));
    say_number("handler", old.sa_sigaction == info_end);
    say_number("flags", old.sa_flags & (SA_SIGINFO | SA_NODEFER | SA_RESETHAND | SA_ONSTACK));
    say_number("mask", sigismember(&old.sa_mask, SIGUSR1) + 2 * sigismember(&old.sa_mask, SIGUSR2));
    crash();
}
void once(void) {
    struct sigaction action = {.sa_handler = leave, .sa_flags = (int)SA_RESETHAND};
    sigaction(SIGSEGV, &action, NULL);
    if (sigsetjmp(back, 1) == 0) crash();
    struct sigaction old;
    sigaction(SIGSEGV, NULL, &old);
    say_number("reset", old.sa_handler == SIG_DFL);
    crash();
}
void once_old(void) {
    sysv_signal(SIGSEGV, leave);
    if (sigsetjmp(back, 0) == 0) crash();
    crash();
}
void leaving_often(void) {
    signal(SIGSEGV, leave);
    for (volatile int i = 0; i < 1000; i++)
        if (sigsetjmp(back, 1) == 0) *nowhere = i;
    say_number("handled", handled);
}
/* Leaves the signal blocked, so that the second fault is deadly. */
void leaving_blocked(void) {
    signal(SIGSEGV, leave);
    if (sigsetjmp(back, 0) == 0) crash();
    say_number("handled", handled);
    crash();
}
static void fault_inside(int number) { say_number("inside", number); *nowhere = 2; }
void nested(void) { signal(SIGSEGV, fault_inside); crash(); }
static void again(int number) {
    say_number("again", number);
    if (++handled == 3) _exit(3);
    *nowhere = 2;
}
void nested_nodefer(void) {
    struct sigaction action = {.sa_handler = again, .sa_flags = SA_NODEFER};
    sigaction(SIGSEGV, &action, NULL);
    crash();
}
static char *page;
static void repair(int number) {
    mprotect(page, 4096, PROT_READ | PROT_WRITE);
    say_number("repair", number);
}
void repaired(void) {
    page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    signal(SIGSEGV, repair);
    page[5] = 6;
    say_number("repaired", page[5]);
}
void bus(void) {
    char name[] = "/tmp/layerpackXXXXXX";
    int file = mkstemp(name);
    unlink(name);
    char *mapped = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, file, 0);
    signal(SIGBUS, end);
    say_number("byte", mapped[1]);
}
void blocked(void) {
    sigset_t all, old;
    sigfillset(&all);
    say_number("set", pthread_sigmask(SIG_SETMASK, &all, &old));
    say_number("before", sigismember(&old, SIGSEGV));
    call(220, 1);
    sigprocmask(SIG_BLOCK, NULL, &old);
    say_number("after", sigismember(&old, SIGSEGV) + 2 * sigismember(&old, SIGBUS));
    sigprocmask(SIG_SETMASK, &all, NULL);
    sigdelset(&all, SIGSEGV);
    sigprocmask(SIG_SETMASK, &all, NULL);
    sigprocmask(SIG_BLOCK, NULL, &old);
    say_number("segv", sigismember(&old, SIGSEGV) + 2 * sigismember(&old, SIGBUS));
}
void blocked_fault(void) {
    sigset_t all;
    signal(SIGSEGV, end);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
    crash();
}
void blocked_but_one(void) {
    sigset_t most;
    signal(SIGSEGV, end);
    sigfillset(&most);
    sigdelset(&most, SIGSEGV);
    pthread_sigmask(SIG_SETMASK, &most, NULL);
    crash();
}
static void *blocked_thread(void *unused) {
    for (int i = 0; i < FUNCTIONS; i++) call(i, 3);
    return unused;
}
void inherited(void) {
    sigset_t all;
    pthread_t thread;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
    pthread_create(&thread, NULL, blocked_thread, NULL);
    pthread_join(thread, NULL);
    say("joined\n");
}
static void other(int number) { say_number("other", number + (call(330, 1) == 0)); }
void full_mask(void) {
    struct sigaction action = {.sa_handler = other}, old;
    sigfillset(&action.sa_mask);
    sigaction(SIGUSR1, &action, NULL);
    raise(SIGUSR1);
    sigaction(SIGUSR1, NULL, &old);
    say_number("mask", sigismember(&old.sa_mask, SIGSEGV));
}
void suspended(void) {
    sigset_t most, usr1;
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &usr1, NULL);
    signal(SIGUSR1, other);
    raise(SIGUSR1);
    sigfillset(&most);
    sigdelset(&most, SIGUSR1);
    sigsuspend(&most);
    say("woken\n");
}
static void tick(int number) { handled++; call(handled * 7 % FUNCTIONS, (uint64_t)number); }
void interrupted(void) {
    struct itimerval often = {{0, 50}, {0, 50}};
    signal(SIGALRM, tick);
    setitimer(ITIMER_REAL, &often, NULL);
    uint64_t sum = 0;
    for (int i = 0; i < FUNCTIONS; i++) sum += call(i, 3);
    while (handled < 100) sum += call(handled, 3) * 0;
    signal(SIGALRM, SIG_IGN);
    say_number("sum", (long)sum);
}
static void *small_stack(void *unused) {
    /* Behind a page without rights, where an overflow is seen. */
    char *memory = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    stack_t stack = {.ss_sp = memory + 4096, .ss_size = MINSIGSTKSZ};
    mprotect(memory, 4096, PROT_NONE);
    say_number("set", sigaltstack(&stack, NULL));
    blocked_thread(NULL);
    return unused;
}
void small_stacks(void) {
    pthread_t threads[8];
    for (int i = 0; i < 8; i++) pthread_create(&threads[i], NULL, small_stack, NULL);
    for (int i = 0; i < 8; i++) pthread_join(threads[i], NULL);
    say("joined\n");
}
static void overflown(int number, siginfo_t *info, void *context) {
    stack_t now;
    sigaltstack(NULL, &now);
    say_number("overflow", number);
    say_number("on stack", (now.ss_flags & SS_ONSTACK) != 0);
    (void)info; (void)context;
    _exit(5);
}
static int deep(int n) {
    volatile char room[500];
    room[n % 500] = 1;
    return deep(n + 1) + room[n % 500];
}
void overflow(void) {
    stack_t stack = {.ss_sp = malloc(65536), .ss_size = 65536};
    struct sigaction action = {.sa_sigaction = overflown, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigaltstack(&stack, NULL);
    sigaction(SIGSEGV, &action, NULL);
    say_number("deep", deep(0));
}
void sent(void) {
    signal(SIGSEGV, other);
    kill(getpid(), SIGSEGV);
    raise(SIGBUS);
}
void refused(void) {
    say_number("signal", signal(SIGKILL, end) == SIG_ERR);
    say_number("errno", errno);
    say_number("sigaction", sigaction(99, NULL, NULL));
    say_number("errno", errno);
    sigset_t set;
    sigemptyset(&set);
    say_number("how", sigprocmask(99, &set, NULL));
    say_number("errno", errno);
}
void held(void) {
    say_number("hold", sigset(SIGSEGV, SIG_HOLD) == SIG_DFL);
    say_number("was held", sigset(SIGSEGV, end) == SIG_HOLD);
    say_number("was set", sigset(SIGSEGV, end) == end);
    crash();
}

/* Other ways to block all signals: code that is absent still comes in. */
static sigset_t full(void) { sigset_t set; sigfillset(&set); return set; }
void old_masks(void) {
    say_number("before", sigblock(0));
    sigsetmask(~0);
    say_number("set", call(110, 1) != 0);
    sigsetmask(0);
    sigblock(~0);
    say_number("blocked", call(120, 1) != 0);
    sigsetmask(0);
    sighold(SIGSEGV);
    say_number("held", call(130, 1) != 0);
    sigset_t now;
    pthread_sigmask(SIG_BLOCK, NULL, &now);
    say_number("seen", sigismember(&now, SIGSEGV));
    sigrelse(SIGSEGV);
    say_number("ignored", sigignore(SIGSEGV) == 0 && call(140, 1) != 0);
    say_number("ignoring", signal(SIGSEGV, SIG_DFL) == SIG_IGN);
    say_number("no signal", sighold(77));
}
static void tock(int number) { say_number("tock", number + (call(handled++ * 10 + 150, 1) == 0)); }
static void alarm_soon(void) {
    struct itimerval time = {.it_value = {.tv_usec = 20000}};
    signal(SIGALRM, tock);
    setitimer(ITIMER_REAL, &time, NULL);
}
void waits(void) {
    sigset_t most = full();
    sigdelset(&most, SIGALRM);
    struct timespec long_time = {.tv_sec = 60};
    alarm_soon();
    say_number("ppoll", ppoll(NULL, 0, &long_time, &most));
    alarm_soon();
    say_number("pselect", pselect(0, NULL, NULL, NULL, &long_time, &most));
    int file = epoll_create1(0);
    struct epoll_event event;
    alarm_soon();
    say_number("epoll", epoll_pwait(file, &event, 1, 60000, &most));
    close(file);
}
static ucontext_t outer, inner;
static void within(void) { say_number("within", call(300, 1) != 0); }
void contexts(void) {
    static char stack[65536];
    getcontext(&inner);
    inner.uc_stack.ss_sp = stack;
    inner.uc_stack.ss_size = sizeof stack;
    inner.uc_link = &outer;
    inner.uc_sigmask = full();
    makecontext(&inner, within, 0);
    say_number("swapped", swapcontext(&outer, &inner));
    say_number("back", call(310, 1) != 0);
}
static void *attributed_body(void *argument) { return call(320, 1) != 0 ? argument : NULL; }
void attributed(void) {
    extern int pthread_attr_setsigmask_np(pthread_attr_t *, const sigset_t *) __attribute__((weak));
    pthread_attr_t attributes;
    pthread_t thread;
    void *result = NULL;
    sigset_t all = full();
    pthread_attr_init(&attributes);
    if (pthread_attr_setsigmask_np != NULL) pthread_attr_setsigmask_np(&attributes, &all);
    pthread_create(&thread, &attributes, attributed_body, &all);
    pthread_join(thread, &result);
    say_number("attributed", result == &all);
}
void taken_away(void) {
    /* Rights that the program takes from code that is there are its own business. */
    char *page = (char *)((uintptr_t)f400 & ~(uintptr_t)4095);
    call(400, 1);
    say("present\n");
    mprotect(page, 4096, PROT_NONE);
    call(400, 1);
}
