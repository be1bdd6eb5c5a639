/* Scenarios: functions of the library, so that their calls of signal functions are imports that
 * packing redirects. Compiled behind the filler, which has `call` and f0, f1, ... */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
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
#ifdef __aarch64__
#define SMALLEST_STACK 5120
#else
#define SMALLEST_STACK 2048
#endif
static void *small_stack(void *unused) {
    /* Behind a page without rights, where an overflow is seen. */
    char *memory = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    /* The kernel's MINSIGSTKSZ: since glibc 2.34 the macro asks the kernel for one that suffices. */
    stack_t stack = {.ss_sp = memory + 4096, .ss_size = SMALLEST_STACK};
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
    extern int epoll_pwait2(int, struct epoll_event *, int, const struct timespec *,
                            const sigset_t *) __attribute__((weak));
    alarm_soon();
    say_number("epoll2", epoll_pwait2 ? epoll_pwait2(file, &event, 1, &long_time, &most)
                                      : epoll_pwait(file, &event, 1, 60000, &most));
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

/* Signals that are sent while pages come in: their handlers need pages too. */
#ifndef WALKS
#define WALKS 50
#endif
static const int SENT[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGUSR1};
static volatile int walked;
static void need(int number) {
    for (int i = 0; i < 3; i++) call((handled++ * 13 + number) % FUNCTIONS, 1);
}
static void *walk(void *stack) {
    stack_t alternate = {.ss_sp = stack, .ss_size = 65536};
    if (stack != NULL) sigaltstack(&alternate, NULL);
    for (int i = 0; i < FUNCTIONS; i++) call(i, 3);
    walked = 1;
    return NULL;
}
static void walk_in_child(int flags) {
    static char stack[65536];
    struct sigaction action = {.sa_handler = need, .sa_flags = flags};
    pthread_t thread;
    /* A child that waits for itself ends by this. */
    alarm(60);
    for (int i = 0; i < 7; i++) sigaction(SENT[i], &action, NULL);
    pthread_create(&thread, NULL, walk, flags & SA_ONSTACK ? stack : NULL);
    for (int i = 0; !walked; i++) pthread_kill(thread, SENT[i % 7]);
    pthread_join(thread, NULL);
    _exit(0);
}
static void walks(int flags) {
    for (int i = 0; i < WALKS; i++) {
        int status = 0;
        pid_t child = fork();
        if (child == 0) walk_in_child(flags);
        waitpid(child, &status, 0);
        if (status != 0) { say_number("status", status); return; }
    }
    say("walked\n");
}
void sent_often(void) { walks(0); }
void sent_often_on_stack(void) { walks(SA_ONSTACK); }

/* Whether a read that a signal interrupts goes on. */
static int ends[2];
static void count(int number) { handled++; (void)number; }
static void *reading(void *unused) {
    char byte;
    errno = 0;
    long got = read(ends[0], &byte, 1);
    say_number("read", got);
    say_number("errno", errno);
    return unused;
}
static void read_while_sent(void) {
    pthread_t thread;
    if (pipe(ends) != 0) return;
    pthread_create(&thread, NULL, reading, NULL);
    for (int i = 0; i < 50; i++) {
        usleep(1000);
        pthread_kill(thread, SIGSEGV);
    }
    if (write(ends[1], "x", 1) != 1) _exit(9);
    pthread_join(thread, NULL);
    close(ends[0]);
    close(ends[1]);
}
static void interrupt_read(void (*handler)(int), int flags) {
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
    sigaction(SIGSEGV, &action, NULL);
    read_while_sent();
}
void restarted(void) {
    interrupt_read(count, SA_RESTART);
    interrupt_read(count, 0);
    interrupt_read(SIG_IGN, 0);
    interrupt_read(count, SA_RESTART);
}
/* By siginterrupt, for a handler that is there and for one that comes later. */
void interrupting(void) {
    struct sigaction now;
    signal(SIGSEGV, count);
    for (int interrupts = 1; interrupts >= 0; interrupts--) {
        say_number("set", siginterrupt(SIGSEGV, interrupts));
        sigaction(SIGSEGV, NULL, &now);
        say_number("restarts", (now.sa_flags & SA_RESTART) != 0);
        read_while_sent();
    }
    siginterrupt(SIGSEGV, 1);
    signal(SIGSEGV, count);
    read_while_sent();
}

/* Two threads fault at once; the first takes the handler, which the second finds gone. */
static pthread_barrier_t together;
static volatile int *counter;
static void only_once(int number) {
    __sync_fetch_and_add(counter, 1);
    for (;;) pause();
    (void)number;
}
static void *fault_together(void *unused) {
    pthread_barrier_wait(&together);
    *nowhere = 1;
    return unused;
}
void once_of_two(void) {
    int most = 0;
    counter = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; i < 500; i++) {
        int status = 0;
        *counter = 0;
        pid_t child = fork();
        if (child == 0) {
            struct sigaction action = {.sa_handler = only_once, .sa_flags = (int)SA_RESETHAND};
            pthread_t threads[2];
            sigaction(SIGSEGV, &action, NULL);
            pthread_barrier_init(&together, NULL, 2);
            for (int k = 0; k < 2; k++) pthread_create(&threads[k], NULL, fault_together, NULL);
            for (int k = 0; k < 2; k++) pthread_join(threads[k], NULL);
        }
        waitpid(child, &status, 0);
        if (status != SIGSEGV && status != (SIGSEGV | 0x80)) say_number("status", status);
        most = *counter > most ? *counter : most;
    }
    say_number("handled at most", most);
}

/* A thread that is cancelled where it waits: what runs at its end finds the program's mask, and its
 * code. */
static void cleaned(void *unused) {
    static int calls;
    sigset_t mask;
    pthread_sigmask(SIG_BLOCK, NULL, &mask);
    say_number("blocked", sigismember(&mask, SIGSEGV) + 2 * sigismember(&mask, SIGUSR1));
    say_number("cleaned", call(700 + calls++ * 20, 1) != 0);
    (void)unused;
}
static void *waits_cancelled(void *which) {
    struct epoll_event event;
    struct timespec second = {.tv_sec = 1};
    sigset_t none;
    sigemptyset(&none);
    pthread_cleanup_push(cleaned, NULL);
    pthread_barrier_wait(&together);
    pthread_barrier_wait(&together);
    switch (*(int *)which) {
    case 0: ppoll(NULL, 0, &second, &none); break;
    case 1: pselect(0, NULL, NULL, NULL, &second, &none); break;
    case 2: epoll_pwait(epoll_create1(0), &event, 1, 1000, &none); break;
    default: sigsuspend(&none);
    }
    pthread_cleanup_pop(0);
    say("not reached\n");
    return NULL;
}
void cancelled(void) {
    pthread_barrier_init(&together, NULL, 2);
    for (int which = 0; which < 4; which++) {
        pthread_t thread;
        pthread_create(&thread, NULL, waits_cancelled, &which);
        pthread_barrier_wait(&together);
        pthread_cancel(thread);
        pthread_barrier_wait(&together);
        pthread_join(thread, NULL);
    }
}

/* The second thread faults when the first knows what to do: at the pager's call that restores its
 * mask, where seccomp's notification holds it. By then the handler must be gone. */
static int second[2], taken[2], listener;
static void first_or_second(int number) {
    if (__sync_add_and_fetch(counter, 1) == 2) _exit(number);
    if (write(second[1], "x", 1) + write(taken[1], "x", 1) != 2) _exit(9);
    for (;;) pause();
}
static int listen_here(void) {
    const unsigned third = offsetof(struct seccomp_data, args[2]);
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_rt_sigprocmask, 0, 7),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SIG_SETMASK, 0, 5),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, third),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, third + 4),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof *code, code};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER,
                        &program);
}
static void *fault_held(void *unused) {
    listener = listen_here();
    pthread_barrier_wait(&together);
    *nowhere = 1;
    return unused;
}
static void *fault_second(void *unused) {
    char byte;
    if (read(second[0], &byte, 1) == 1) *nowhere = 1;
    return unused;
}
static void hold_first(void) {
    struct seccomp_notif asked = {0};
    struct seccomp_notif_resp answer = {.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};
    char byte;
    /* Without the pager there is no such call: the first handler lets the second go. */
    while (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &asked) == 0) {
        if (answer.id == 0 && (write(second[1], "x", 1) != 1 || read(taken[0], &byte, 1) != 1))
            _exit(9);
        answer.id = asked.id;
        ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer);
        memset(&asked, 0, sizeof asked);
    }
    pause();
}
void once_while_held(void) {
    int status = 0;
    counter = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t child = fork();
    if (child == 0) {
        struct sigaction action = {.sa_handler = first_or_second, .sa_flags = (int)SA_RESETHAND};
        pthread_t threads[2];
        if (pipe(second) || pipe(taken)) _exit(9);
        sigaction(SIGSEGV, &action, NULL);
        pthread_barrier_init(&together, NULL, 2);
        pthread_create(&threads[0], NULL, fault_held, NULL);
        pthread_create(&threads[1], NULL, fault_second, NULL);
        pthread_barrier_wait(&together);
        hold_first();
    }
    waitpid(child, &status, 0);
    say_number("signal", status & 127);
    say_number("more than once", *counter > 1);
}

/* A signal that is sent while it is blocked waits for each way to unblock it. */
static void block_and_send(void) {
    sigset_t set;
    handled = 0;
    sigemptyset(&set);
    sigaddset(&set, SIGBUS);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    kill(getpid(), SIGBUS);
    say_number("pending", handled);
}
void kept_while_blocked(void) {
    sigset_t none;
    struct timespec long_time = {.tv_sec = 60};
    sigemptyset(&none);
    signal(SIGBUS, count);
    block_and_send();
    pthread_sigmask(SIG_SETMASK, &none, NULL);
    say_number("sigmask", handled);
    block_and_send();
    sigrelse(SIGBUS);
    say_number("sigrelse", handled);
    block_and_send();
    sigsetmask(0);
    say_number("sigsetmask", handled);
    block_and_send();
    say_number("suspended", sigsuspend(&none));
    say_number("sigsuspend", handled);
    block_and_send();
    say_number("polled", ppoll(NULL, 0, &long_time, &none));
    say_number("ppoll", handled);
    say_number("again", ppoll(NULL, 0, &(struct timespec){0}, &none));
    pthread_sigmask(SIG_SETMASK, &none, NULL);
    say_number("once", handled);
}
