/* What hands read-only data to the kernel, from the first code of a library on. Compiled behind the
 * array `noise`, and without a C library's headers, which not every compiler has. */
#include <stddef.h>

extern int stat(const char *path, void *found), open(const char *path, int flags, ...), close(int);
extern int memfd_create(const char *name, unsigned flags);
extern long write(int file, const void *from, size_t size);
extern long writev(int file, const void *parts, int count);
extern int *__errno_location(void);

/* The text and the path lie on pages that nothing else is on. */
static const struct { char before[9000], text[32], path[32], after[9000]; } in_data = {
    .before = {1}, .text = "from a constructor\n", .path = "/dev/null", .after = {1},
};
#define LENGTH 19 /* of the text */

static int results[5];

static int problem(int good) { return good ? 0 : *__errno_location(); }

static __attribute__((noinline)) void use_them(void)
{
    char found[1024];
    struct { const void *from; size_t size; } parts[] = {
        {in_data.text, 5}, {in_data.text + 5, LENGTH - 5},
    };
    /* What is written to /dev/null is not read. */
    int file = open(in_data.path, 1), memory = memfd_create(in_data.text, 0);
    results[0] = problem(stat(in_data.path, found) == 0);
    results[1] = problem(file >= 0);
    results[2] = problem(write(memory, noise, sizeof noise) == sizeof noise);
    results[3] = problem(write(1, in_data.text, LENGTH) == LENGTH);
    results[4] = problem(writev(1, parts, 2) == LENGTH);
    close(file);
    close(memory);
}

__attribute__((constructor(101))) static void start(void) { use_them(); }

int result(int number) { return results[number]; }
uint64_t sum(void)
{
    uint64_t all = 0;
    for (size_t i = 0; i < sizeof noise; i++) all = all * 31 + ((const unsigned char *)noise)[i];
    return all;
}
const void *data(void) { return noise; }
int again(void)
{
    results[3] = results[4] = -1;
    use_them();
    return results[3] | results[4];
}
