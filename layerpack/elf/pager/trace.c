/* Recording, in lines of files that variables name: for each page that is touched, for the packer to
 * place together, and for each probe that is run; and what each window that is brought in takes. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pager.h"

#define PATH_SIZE 4096

bool lp_tracing, lp_timing;
static char trace_path[PATH_SIZE], timings_path[PATH_SIZE];

/* Opened each time: a program may close descriptors that it does not know, and use their numbers
 * for files of its own. */
static long open_file(const char *path)
{
    return lp_call4(SYS_openat, AT_FDCWD, (long)path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC,
                    0666);
}

/* Whether the variable names a file, whose absolute path is in `path` then. */
static bool asked_for(const char *variable, char *path)
{
    /* Not in a program with more rights than its user. */
    const char *asked = secure_getenv(variable);
    size_t used = 0;
    if (asked == NULL || *asked == '\0')
        return false;
    /* Absolute, since the program may change its folder. */
    if (*asked != '/' && getcwd(path, PATH_SIZE) != NULL) {
        used = strlen(path);
        path[used++] = '/';
    }
    if (used + strlen(asked) >= PATH_SIZE)
        lp_die(asked, "the path in LAYERPACK_TRACE or LAYERPACK_TIMINGS is too long",
               "choose a shorter one");
    strcpy(path + used, asked);
    long file = open_file(path);
    if (file < 0)
        lp_die(path, "cannot open the file that LAYERPACK_TRACE or LAYERPACK_TIMINGS names",
               "create its folder, and allow writing to it");
    lp_call4(SYS_close, file, 0, 0, 0);
    return true;
}

void lp_trace_start(void)
{
    lp_tracing = asked_for("LAYERPACK_TRACE", trace_path);
    lp_timing = asked_for("LAYERPACK_TIMINGS", timings_path);
}

static char *append_number(char *end, uint64_t number)
{
    char *first = end;
    do {
        *end++ = (char)('0' + number % 10);
        number /= 10;
    } while (number != 0);
    for (char *low = first, *high = end - 1; low < high; low++, high--) {
        char digit = *low;
        *low = *high;
        *high = digit;
    }
    return end;
}

#define MOST_NUMBERS 8

/* `<SHA-256 of the original> <mark><number> <number>...`; `-` without a library. */
static void write_line(const char *path, const struct lp_library *library, const char *mark,
                       const uint64_t *numbers, size_t count)
{
    static const char digits[] = "0123456789abcdef";
    char line[64 + 1 + MOST_NUMBERS * 21 + 1], *end = line;
    for (size_t i = 0; library != NULL && i < 32; i++) {
        *end++ = digits[library->index->source[i] >> 4];
        *end++ = digits[library->index->source[i] & 15];
    }
    if (library == NULL)
        *end++ = '-';
    for (size_t i = 0; i < count; i++) {
        *end++ = ' ';
        if (i == 0 && *mark != '\0')
            *end++ = *mark;
        end = append_number(end, numbers[i]);
    }
    *end++ = '\n';

    long file = open_file(path);
    /* One write with O_APPEND, so that the lines of several processes do not mix. */
    if (file < 0 || lp_call4(SYS_write, file, (long)line, end - line, 0) != end - line)
        lp_die(path, "cannot write to the file that LAYERPACK_TRACE or LAYERPACK_TIMINGS names",
               "make room for it, and leave it in place while the program runs");
    lp_call4(SYS_close, file, 0, 0, 0);
}

void lp_trace(const struct lp_library *library, uint32_t page)
{
    const uint64_t number = page;
    write_line(trace_path, library, "", &number, 1);
}

void lp_trace_probe(const struct lp_library *library, uint32_t vaddr)
{
    const uint64_t number = vaddr;
    write_line(trace_path, library, "@", &number, 1);
}

uint64_t lp_clock(void)
{
    struct timespec now;
    if (!lp_timing)
        return 0;
    lp_call4(SYS_clock_gettime, CLOCK_MONOTONIC, (long)&now, 0, 0);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void lp_time_window(const struct lp_library *library, uint32_t window, uint32_t runs,
                    uint64_t started, uint64_t decoding)
{
    if (!lp_timing)
        return;
    const struct lp_window *one = &library->windows[window];
    const uint64_t numbers[] = {window, one->raw, one->size, runs, lp_clock() - started, decoding};
    write_line(timings_path, library, "", numbers, sizeof numbers / sizeof *numbers);
}

void lp_time_block(const struct lp_library *library, uint32_t block, uint64_t started,
                   uint64_t decoding)
{
    if (!lp_timing)
        return;
    const struct lp_block *one = &library->blocks[block];
    const uint64_t numbers[] = {library->index->window_count + block, (uint64_t)one->pages * LP_PAGE,
                                one->size, 1, lp_clock() - started, decoding};
    write_line(timings_path, library, "", numbers, sizeof numbers / sizeof *numbers);
}

void lp_time_search(uint64_t started)
{
    const uint64_t spent = lp_clock() - started;
    if (lp_timing)
        write_line(timings_path, NULL, "", &spent, 1);
}
