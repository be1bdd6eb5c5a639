/* Recording: a line for each page that is touched, for the packer to place together, and for each
 * probe that is run. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pager.h"

#define PATH_SIZE 4096

bool lp_tracing;
static char trace_path[PATH_SIZE];

/* Opened each time: a program may close descriptors that it does not know, and use their numbers
 * for files of its own. */
static long open_trace(void)
{
    return lp_call4(SYS_openat, AT_FDCWD, (long)trace_path,
                    O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
}

void lp_trace_start(void)
{
    /* Not in a program with more rights than its user. */
    const char *asked = secure_getenv("LAYERPACK_TRACE");
    size_t used = 0;
    if (asked == NULL || *asked == '\0')
        return;
    /* Absolute, since the program may change its folder. */
    if (*asked != '/' && getcwd(trace_path, sizeof trace_path) != NULL) {
        used = strlen(trace_path);
        trace_path[used++] = '/';
    }
    if (used + strlen(asked) >= sizeof trace_path)
        lp_die(asked, "the path in LAYERPACK_TRACE is too long", "choose a shorter one");
    strcpy(trace_path + used, asked);
    long file = open_trace();
    if (file < 0)
        lp_die(trace_path, "cannot open the file that LAYERPACK_TRACE names",
               "create its folder, and allow writing to it");
    lp_call4(SYS_close, file, 0, 0, 0);
    lp_tracing = true;
}

/* `<SHA-256 of the original> <mark><number>` */
static void write_line(const struct lp_library *library, const char *mark, uint32_t number)
{
    static const char digits[] = "0123456789abcdef";
    char line[64 + 1 + 1 + 10 + 1];
    size_t end = 0, first;
    for (size_t i = 0; i < 32; i++) {
        line[end++] = digits[library->index->source[i] >> 4];
        line[end++] = digits[library->index->source[i] & 15];
    }
    line[end++] = ' ';
    if (*mark != '\0')
        line[end++] = *mark;
    first = end;
    do {
        line[end++] = digits[number % 10];
        number /= 10;
    } while (number != 0);
    for (size_t low = first, high = end - 1; low < high; low++, high--) {
        char digit = line[low];
        line[low] = line[high];
        line[high] = digit;
    }
    line[end++] = '\n';

    long file = open_trace();
    /* One write with O_APPEND, so that the lines of several processes do not mix. */
    if (file < 0 || lp_call4(SYS_write, file, (long)line, (long)end, 0) != (long)end)
        lp_die(trace_path, "cannot write to the file that LAYERPACK_TRACE names",
               "make room for it, and leave it in place while the program runs");
    lp_call4(SYS_close, file, 0, 0, 0);
}

void lp_trace(const struct lp_library *library, uint32_t page)
{
    write_line(library, "", page);
}

void lp_trace_probe(const struct lp_library *library, uint32_t vaddr)
{
    write_line(library, "@", vaddr);
}
