/* A fork at the worst moment: the address space is full, and a thread that pages in has just let go
 * of the pager's reserve (munmap is done, and has not returned). The kernel holds the thread there
 * for another, by seccomp's notification: that one puts memory of its own where the reserve was,
 * and forks. The child pages in, in need itself, and must not take that memory away.
 *
 * Ends with 77 where the kernel has no such notification. */
#include <dlfcn.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Of the reserve, what does not take the window is let go of; nothing else of this size is. */
#define LEAST (512 * 1024)

static uint64_t (*call)(int, uint64_t);
static int listener;
static pthread_barrier_t started;

static void child(const volatile char *memory)
{
    call(FUNCTIONS / 2, 3);
    /* Not reached where the pager takes no other memory; else it cannot be read any more. */
    _exit(memory[LEAST / 2] == 0 ? 0 : 30);
}

static void *meanwhile(void *unused)
{
    struct seccomp_notif asked = {0};
    struct seccomp_notif_resp answer = {0};
    const int kind = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
    int status;
    pthread_barrier_wait(&started);
    if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &asked) < 0) _exit(20);
    void *place = (void *)(uintptr_t)asked.data.args[0];
    const size_t size = asked.data.args[1];
    /* In one step, since the other's call must be the one that frees it. */
    if (mmap(place, size, PROT_READ | PROT_WRITE, kind, -1, 0) != place) _exit(21);
    pid_t process = fork();
    if (process == 0) child(place);
    if (process < 0 || waitpid(process, &status, 0) != process) _exit(22);
    printf("child: signal %d, code %d\n", WIFSIGNALED(status) ? WTERMSIG(status) : 0,
           WIFEXITED(status) ? WEXITSTATUS(status) : 0);
    munmap(place, size);
    /* Without SECCOMP_USER_NOTIF_FLAG_CONTINUE the call is not made, and returns 0. */
    answer.id = asked.id;
    if (ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer) < 0) _exit(23);
    return unused;
}

/* munmap of LEAST bytes or more, by this thread. */
static int listen_here(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_munmap, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, LEAST, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof *code, code};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER,
                        &program);
}

int main(int argc, char **argv)
{
    pthread_t thread;
    struct rlimit limit;
    unsigned long pages;
    FILE *size;
    void *library = argc == 2 ? dlopen(argv[1], RTLD_NOW) : NULL;
    if (library == NULL) return 2;
    call = (uint64_t (*)(int, uint64_t))dlsym(library, "call");
    pthread_barrier_init(&started, NULL, 2);
    /* Without the filter, which a thread inherits: it unmaps as much itself. */
    pthread_create(&thread, NULL, meanwhile, NULL);
    listener = listen_here();
    if (listener < 0) return 77;
    printf("%lx\n", call(0, 3));
    fflush(stdout);
    size = fopen("/proc/self/statm", "r");
    if (size == NULL || fscanf(size, "%lu", &pages) != 1) return 3;
    limit.rlim_cur = limit.rlim_max = pages * 4096;
    setrlimit(RLIMIT_AS, &limit);
    pthread_barrier_wait(&started);
    printf("parent: %lx\n", call(FUNCTIONS - 1, 3));
    return 0;
}
