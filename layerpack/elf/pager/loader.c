/* The lock under which the loader's list of objects is read, and a way to do without it.
 *
 * dl_iterate_phdr holds it (glibc's _dl_load_write_lock) while it calls back. A fault that asks the
 * loader waits for ever where the holder waits for the thread that faults, or is a thread of the
 * process that this one was forked from: glibc releases it in no child. So a fault tries the lock,
 * holds it while it asks (it is recursive), and does without the loader where it cannot have it.
 *
 * To try it in a handler is sound. No signal interrupts this code, as all are blocked; but the
 * handler of one may run packed code after it interrupted this thread within glibc's own (2.26 to
 * 2.41), in one of these states:
 * - taken, the owner not set yet: it cannot be had, as with any other holder;
 * - the owner set: taking it nests, since glibc sets the count before, but for the number of its
 *   users, which only destroying a mutex reads;
 * - the count 0, the owner still set, on its way to be given back: nested, it would be given back
 *   twice, the second time perhaps for another thread. It is left alone then. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/auxv.h>

#include "pager.h"

/* Before glibc 2.34 libpthread has it, which a program need not have; the loader locks nothing
 * then. */
extern int pthread_mutex_trylock(pthread_mutex_t *mutex) __attribute__((weak));

/* NULL with a libc that is laid out in another way, or where the loader was started as a program:
 * then it is asked in any case. */
static pthread_mutex_t *loader_lock;

#define MOST_HELD 4

static bool is_held_by(const pthread_mutex_t *mutex, int thread)
{
    return __atomic_load_n(&mutex->__data.__owner, __ATOMIC_RELAXED) == thread &&
           __atomic_load_n(&mutex->__data.__lock, __ATOMIC_RELAXED) != 0;
}

static int this_thread(void)
{
    return (int)lp_call4(SYS_gettid, 0, 0, 0, 0);
}

/* The recursive mutexes in the loader's data that this thread holds. */
static void collect(const ElfW(Phdr) *header, uintptr_t base, pthread_mutex_t **held)
{
    uintptr_t at = (base + header->p_vaddr + 7) & ~(uintptr_t)7;
    uintptr_t end = base + header->p_vaddr + header->p_memsz;
    for (size_t count = 0; at + sizeof **held <= end && count < MOST_HELD; at += 8) {
        pthread_mutex_t *mutex = (void *)at;
        if (is_held_by(mutex, this_thread()) && mutex->__data.__count != 0 &&
            mutex->__data.__kind == PTHREAD_MUTEX_RECURSIVE_NP)
            held[count++] = mutex;
    }
}

static int visit(struct dl_phdr_info *object, size_t size, void *held)
{
    (void)size;
    if (object->dlpi_addr == 0 || object->dlpi_addr != getauxval(AT_BASE))
        return 0;
    for (int i = 0; i < object->dlpi_phnum; i++)
        if (object->dlpi_phdr[i].p_type == PT_LOAD && (object->dlpi_phdr[i].p_flags & PF_W))
            collect(&object->dlpi_phdr[i], object->dlpi_addr, held);
    return 1;
}

/* The lock is what this thread holds in the callback, and not afterwards: dlopen, from which this
 * may be called, holds another. */
void lp_loader_start(void)
{
    pthread_mutex_t *held[MOST_HELD] = {NULL};
    dl_iterate_phdr(visit, held);
    for (size_t i = 0; i < MOST_HELD; i++)
        if (held[i] != NULL && !is_held_by(held[i], this_thread()) && pthread_mutex_trylock != NULL)
            loader_lock = held[i];
}

bool lp_loader_is_locked(void)
{
    return loader_lock != NULL && !is_held_by(loader_lock, this_thread()) &&
           __atomic_load_n(&loader_lock->__data.__lock, __ATOMIC_RELAXED) != 0;
}

/* Whether this thread was interrupted while it gave the lock back. */
static bool is_being_given(void)
{
    return is_held_by(loader_lock, this_thread()) && loader_lock->__data.__count == 0;
}

static bool owner_is_gone(void)
{
    int owner = __atomic_load_n(&loader_lock->__data.__owner, __ATOMIC_RELAXED);
    return owner != 0 && lp_call4(SYS_tgkill, lp_call4(SYS_getpid, 0, 0, 0, 0), owner, 0, 0) ==
                             -ESRCH;
}

/* Mostly another thread holds it for microseconds. */
bool lp_loader_take(void)
{
    const struct timespec moment = {.tv_nsec = 1000000};
    if (loader_lock == NULL)
        return true;
    if (is_being_given())
        return false;
    for (int i = 0; i < 20; i++) {
        if (pthread_mutex_trylock(loader_lock) == 0)
            return true;
        if (owner_is_gone())
            return false;
        lp_call4(SYS_nanosleep, (long)&moment, 0, 0, 0);
    }
    return false;
}

void lp_loader_give(void)
{
    if (loader_lock != NULL)
        pthread_mutex_unlock(loader_lock);
}

/* ---- what the kernel says of mappings (proc(5), /proc/PID/maps) ---- */

struct mapping {
    uintptr_t start, end;
    uint64_t offset, device, inode;
    bool readable;
};

struct maps {
    long file;
    size_t at, size;
    char last; /* the character that was read last */
    char buffer[4096];
};

/* The next character, 0 at the end. */
static char next(struct maps *maps)
{
    if (maps->at == maps->size) {
        long size = lp_call4(SYS_read, maps->file, (long)maps->buffer, sizeof maps->buffer, 0);
        maps->at = 0;
        maps->size = size > 0 ? (size_t)size : 0;
    }
    return maps->last = maps->size == 0 ? '\0' : maps->buffer[maps->at++];
}

/* A number; the character that ends it is read too. */
static uint64_t number(struct maps *maps, unsigned base)
{
    uint64_t value = 0;
    for (;;) {
        char c = next(maps);
        unsigned digit = base;
        if (c >= '0' && c <= '9')
            digit = (unsigned)(c - '0');
        else if (c >= 'a' && c <= 'f')
            digit = (unsigned)(c - 'a') + 10;
        if (digit >= base)
            return value;
        value = value * base + digit;
    }
}

/* `start-end rwxp offset major:minor inode path`; without a path, the line may end at once. */
static bool read_mapping(struct maps *maps, struct mapping *mapping)
{
    mapping->start = number(maps, 16);
    mapping->end = number(maps, 16);
    mapping->readable = next(maps) == 'r';
    while (maps->last != ' ' && maps->last != '\0')
        next(maps);
    mapping->offset = number(maps, 16);
    mapping->device = number(maps, 16) << 32;
    mapping->device |= number(maps, 16);
    mapping->inode = number(maps, 10);
    while (maps->last != '\n' && maps->last != '\0')
        next(maps);
    return mapping->end != 0;
}

static bool same_file(const struct mapping *one, const struct mapping *other)
{
    return one->inode != 0 && one->inode == other->inode && one->device == other->device;
}

/* Whether a mapping has `size` bytes from `offset` of the file on. */
static bool has(const struct mapping *mapping, uint64_t offset, uint64_t size)
{
    return mapping->readable && offset >= mapping->offset &&
           offset + size <= mapping->offset + (mapping->end - mapping->start);
}

/* `head`, the nearest mapping at or below `address` that begins with a file's first byte; whether
 * `address` is mapped at all. Mapped libraries lie apart: it is the library's, or that of none. */
static bool find_head(struct maps *maps, uintptr_t address, struct mapping *head)
{
    struct mapping mapping;
    head->inode = 0;
    while (read_mapping(maps, &mapping) && mapping.start <= address) {
        if (mapping.readable && mapping.offset == 0 && mapping.inode != 0)
            *head = mapping;
        if (address < mapping.end)
            return head->inode != 0 && has(head, 0, sizeof(ElfW(Ehdr)));
    }
    return false;
}

static bool read_header(const struct mapping *head, ElfW(Ehdr) *header)
{
    if (!lp_readable(head->start))
        return false;
    memcpy(header, (const void *)head->start, sizeof *header);
    return memcmp(header->e_ident, ELFMAG, SELFMAG) == 0 &&
           header->e_ident[EI_CLASS] == ELFCLASS64 &&
           header->e_phentsize == sizeof(ElfW(Phdr)) && header->e_phnum != 0;
}

/* Its program headers, where they are mapped. */
static const ElfW(Phdr) *find_headers(struct maps *maps, const struct mapping *head,
                                      const ElfW(Ehdr) *header)
{
    uint64_t size = header->e_phnum * sizeof(ElfW(Phdr));
    struct mapping mapping;
    while (read_mapping(maps, &mapping)) {
        if (mapping.start < head->start || !same_file(head, &mapping) ||
            !has(&mapping, header->e_phoff, size))
            continue;
        uintptr_t first = mapping.start + (header->e_phoff - mapping.offset);
        return lp_readable(first) && lp_readable(first + size - 8) ? (const void *)first : NULL;
    }
    return NULL;
}

bool lp_loader_comes_free(void)
{
    return loader_lock != NULL && !is_being_given() && !owner_is_gone();
}

enum lp_mapped lp_mapped_object(uintptr_t address, struct dl_phdr_info *object)
{
    struct maps maps = {.at = 0};
    struct mapping head;
    ElfW(Ehdr) header;
    memset(object, 0, sizeof *object);
    object->dlpi_name = "";
    /* /proc/self shows nothing once the first thread has ended. */
    maps.file =
        lp_call4(SYS_openat, AT_FDCWD, (long)"/proc/thread-self/maps", O_RDONLY | O_CLOEXEC, 0);
    if (maps.file < 0)
        return LP_NOT_READ;
    if (find_head(&maps, address, &head) && read_header(&head, &header)) {
        lp_call4(SYS_lseek, maps.file, 0, 0, 0);
        maps.at = maps.size = 0;
        object->dlpi_phdr = find_headers(&maps, &head, &header);
        object->dlpi_phnum = object->dlpi_phdr != NULL ? header.e_phnum : 0;
    }
    lp_call4(SYS_close, maps.file, 0, 0, 0);
    for (int i = object->dlpi_phnum - 1; i >= 0; i--)
        if (object->dlpi_phdr[i].p_type == PT_LOAD && object->dlpi_phdr[i].p_offset < LP_PAGE)
            object->dlpi_addr = head.start - (object->dlpi_phdr[i].p_vaddr & ~(LP_PAGE - 1ull));
    return object->dlpi_phdr != NULL ? LP_MAPPED : LP_NONE;
}
