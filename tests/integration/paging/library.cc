/* What runs paged code at odd times: constructors, threads, exceptions, exit handlers.
 * Compiled behind the filler, which has `call`. */
/* Pages around this code: the first and the last page of code are never paged. */
__asm__(".pushsection .text\n.skip 12288\n.popsection\n"
        ".pushsection .text.last,\"ax\"\n.skip 12288\n.popsection");
#include <stdexcept>
#include <string>
#include <thread>
#include <unistd.h>
#include <cstdlib>
#include <cstdio>

static uint64_t from_thread;
static std::thread *started;
static void at_exit() { printf("exit %lx\n", (unsigned long)call(FUNCTIONS - 1, 1)); }

struct Starter {
    Starter() {
        started = new std::thread([] { from_thread = call(3, 4); });
        atexit(at_exit);
    }
    ~Starter() { printf("destructor %lx\n", (unsigned long)call(FUNCTIONS / 2, 5)); }
} starter;

struct Local { ~Local() { from_thread += call(77, 9); } };
static thread_local Local local;

extern "C" uint64_t constructed() {
    started->join();
    std::thread([] { (void)&local; }).join();
    return from_thread;
}

static uint64_t thrower(int depth, uint64_t x) {
    struct Unwound { uint64_t *sum; ~Unwound() { *sum += call(5, *sum); } } unwound{&x};
    if (depth == 0) throw std::runtime_error(std::to_string(x));
    return thrower(depth - 1, call(depth % FUNCTIONS, x)) + 1;
}
extern "C" uint64_t thrown(uint64_t x) {
    try { return thrower(50, x); }
    catch (const std::runtime_error &error) { return strtoull(error.what(), nullptr, 10); }
}

/* One that another library catches. */
extern "C" uint64_t throws(uint64_t x) { return thrower(10, x); }
extern "C" uint64_t caught(uint64_t (*throws)(uint64_t), uint64_t x) {
    try { return throws(x); }
    catch (const std::runtime_error &error) { return call(7, strtoull(error.what(), nullptr, 10)); }
}
