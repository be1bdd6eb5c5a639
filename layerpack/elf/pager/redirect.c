/* Points the signal functions that unpacked objects import at ours.
 *
 * Packed libraries import ours by name. The others (the Python executable, for its faulthandler)
 * are bound to libc, which is why the words that the loader stored for them are changed: the
 * targets of their JUMP_SLOT and GLOB_DAT relocations, and pointers in data. libc and the loader are
 * left alone. */
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#include "pager.h"

#if defined(__x86_64__)
#define IS_SLOT(type) \
    ((type) == R_X86_64_JUMP_SLOT || (type) == R_X86_64_GLOB_DAT || (type) == R_X86_64_64)
#elif defined(__aarch64__)
#define IS_SLOT(type) \
    ((type) == R_AARCH64_JUMP_SLOT || (type) == R_AARCH64_GLOB_DAT || (type) == R_AARCH64_ABS64)
#endif

/* Defined in dispositions.c, masks.c and waits.c; here only their addresses are wanted. */
#define LP_REDIRECT(name, ours) extern void ours(void);
#include "redirected.h"
#undef LP_REDIRECT

static const struct {
    const char *name;
    void (*ours)(void);
} functions[] = {
#define LP_REDIRECT(name, ours) {name, ours},
#include "redirected.h"
#undef LP_REDIRECT
};

/* What of an object's dynamic section is needed. */
struct tables {
    const ElfW(Sym) *symbols;
    const char *names;
    const uint32_t *gnu_hash;
    const uint32_t *hash;
    const uint16_t *versions;     /* by symbol */
    const ElfW(Verneed) *needs;
    size_t needs_count;
    const ElfW(Rela) *jumps, *others;
    size_t jumps_size, others_size, relative_count;
    size_t size;                  /* see set_slot */
};

static void (*ours_for(const char *name))(void)
{
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
        if (strcmp(functions[i].name, name) == 0)
            return functions[i].ours;
    return NULL;
}

/* Whether the version that an import asks for is one of glibc's; so it is where none is asked for
 * (versions 0 and 1), or no version has that number. */
static bool is_glibcs(const struct tables *tables, size_t symbol)
{
    uint16_t wanted = tables->versions != NULL ? tables->versions[symbol] & 0x7fff : 0;
    const ElfW(Verneed) *need = tables->needs;
    if (wanted <= 1)
        return true;
    for (size_t i = 0; need != NULL && i < tables->needs_count; i++) {
        const ElfW(Vernaux) *version = (const void *)((const char *)need + need->vn_aux);
        for (size_t k = 0; k < need->vn_cnt; k++) {
            if ((version->vna_other & 0x7fff) == wanted)
                return strncmp(tables->names + version->vna_name, "GLIBC_", 6) == 0;
            version = (const void *)((const char *)version + version->vna_next);
        }
        need = need->vn_next != 0 ? (const void *)((const char *)need + need->vn_next) : NULL;
    }
    return true;
}

/* What answers for a symbol that the object imports, NULL where that is not ours to do. */
static void (*ours_for_import(const struct tables *tables, size_t number))(void)
{
    const ElfW(Sym) *symbol = &tables->symbols[number];
    if (symbol->st_shndx != SHN_UNDEF)
        return NULL;
    void (*ours)(void) = ours_for(tables->names + symbol->st_name);
    return ours != NULL && is_glibcs(tables, number) ? ours : NULL;
}

static bool is_left_alone(const char *path)
{
    static const char *const starts[] = {"linux-vdso", "ld-linux", "libc.so", "libc-2",
                                         "libpthread", "liblayerpack_pager"};
    const char *name = strrchr(path, '/');
    name = name != NULL ? name + 1 : path;
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++)
        if (strncmp(name, starts[i], strlen(starts[i])) == 0)
            return true;
    return false;
}

/* 1 where nothing is added, as the object is where its file says: then all addresses are final. */
static size_t size_of(const struct dl_phdr_info *object)
{
    size_t size = 1;
    for (int i = 0; object->dlpi_addr != 0 && i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *header = &object->dlpi_phdr[i];
        if (header->p_type == PT_LOAD && header->p_vaddr + header->p_memsz > size)
            size = header->p_vaddr + header->p_memsz;
    }
    return size;
}

static bool read_tables(const struct dl_phdr_info *object, struct tables *tables)
{
    const ElfW(Dyn) *entry = NULL;
    memset(tables, 0, sizeof *tables);
    for (int i = 0; i < object->dlpi_phnum; i++)
        if (object->dlpi_phdr[i].p_type == PT_DYNAMIC)
            entry = (const void *)(object->dlpi_addr + object->dlpi_phdr[i].p_vaddr);
    if (entry == NULL)
        return false;
    for (; entry->d_tag != DT_NULL; entry++) {
        /* glibc has added the base already, unless the section is read-only. */
        uintptr_t address = entry->d_un.d_ptr;
        if (address < object->dlpi_addr)
            address += object->dlpi_addr;
        switch (entry->d_tag) {
        case DT_SYMTAB: tables->symbols = (const void *)address; break;
        case DT_STRTAB: tables->names = (const void *)address; break;
        case DT_GNU_HASH: tables->gnu_hash = (const void *)address; break;
        case DT_HASH: tables->hash = (const void *)address; break;
        case DT_VERSYM: tables->versions = (const void *)address; break;
        case DT_VERNEED: tables->needs = (const void *)address; break;
        case DT_VERNEEDNUM: tables->needs_count = entry->d_un.d_val; break;
        case DT_JMPREL: tables->jumps = (const void *)address; break;
        case DT_RELA: tables->others = (const void *)address; break;
        case DT_PLTRELSZ: tables->jumps_size = entry->d_un.d_val; break;
        case DT_RELASZ: tables->others_size = entry->d_un.d_val; break;
        case DT_RELACOUNT: tables->relative_count = entry->d_un.d_val; break;
        }
    }
    tables->size = size_of(object);
    return tables->symbols != NULL && tables->names != NULL;
}

/* Whether the object imports any of the functions. Cheaper than going through its relocations,
 * since imports come first among its symbols: nbuckets, then the index of the first export. */
static bool imports_any(const struct tables *tables)
{
    uint32_t count = 0;
    if (tables->gnu_hash != NULL)
        count = tables->gnu_hash[1];
    else if (tables->hash != NULL)
        count = tables->hash[1];
    /* Without exports, some linkers say 1 here, or 0: then nothing is known. */
    if (count <= 1)
        return true;
    for (uint32_t i = 1; i < count; i++)
        if (ours_for_import(tables, i) != NULL)
            return true;
    return false;
}

/* Writes a word that may be read-only by now (RELRO). Through /proc, that needs no change of
 * rights, which another thread that is loading this object might be changing too. */
static void write_word(uintptr_t *word, uintptr_t value)
{
    long file, written = 0;
    if (*word == value)
        return;
    file = lp_call4(SYS_openat, AT_FDCWD, (long)"/proc/thread-self/mem", O_RDWR | O_CLOEXEC, 0);
    if (file >= 0) {
        written = lp_call4(SYS_pwrite64, file, (long)&value, sizeof value, (long)word);
        lp_call4(SYS_close, file, 0, 0, 0);
    }
    if (written == sizeof value)
        return;
    /* Without /proc, or forbidden there. The page stays writable. */
    uintptr_t page = (uintptr_t)word & ~(uintptr_t)(LP_PAGE - 1);
    if (lp_mprotect((void *)page, LP_PAGE, PROT_READ | PROT_WRITE) == 0)
        *word = value;
}

/* Objects that were seen, so that each is gone through once; and the words of theirs that are ours
 * to set, so that all are looked at again each time. An object may be seen while another thread is
 * still loading it: what it relocates afterwards takes our addresses away. Under the loader's
 * lock. */
static struct {
    uintptr_t base;
    const void *headers;
    uint32_t first_slot, slots;
} seen[1024];
static size_t seen_count;
static struct {
    uintptr_t *word;
    uintptr_t ours;
} slots[2048];
static size_t slot_count;
static unsigned long long seen_unloads;

/* A word that is not relocated yet holds nothing, or the file's address of a PLT entry, to which
 * the loader is about to add the base. `size` is the object's: above all addresses in its file. */
static void set_slot(uintptr_t *word, uintptr_t ours, size_t size)
{
    if (*word >= size)
        write_word(word, ours);
}

static void redirect_slots(uintptr_t base, const struct tables *tables, const ElfW(Rela) *first,
                           const ElfW(Rela) *end)
{
    for (; first < end; first++) {
        if (!IS_SLOT(ELF64_R_TYPE(first->r_info)))
            continue;
        void (*function)(void) = ours_for_import(tables, ELF64_R_SYM(first->r_info));
        /* A pointer to the middle of a function is no pointer to it. */
        if (function == NULL || first->r_addend != 0)
            continue;
        uintptr_t *word = (uintptr_t *)(base + first->r_offset), ours = (uintptr_t)function;
        set_slot(word, ours, tables->size);
        if (slot_count < sizeof slots / sizeof *slots) {
            slots[slot_count].word = word;
            slots[slot_count].ours = ours;
        }
        slot_count++;
    }
}

static void redirect_object(const struct dl_phdr_info *object)
{
    struct tables tables;
    /* A program at a fixed address has the functions whose addresses it takes among its exports:
     * their addresses, for all libraries too, are those of its own PLT. */
    bool fixed = object->dlpi_addr == 0;
    if (is_left_alone(object->dlpi_name) || !read_tables(object, &tables) ||
        (!fixed && !imports_any(&tables)))
        return;
    if (tables.jumps != NULL)
        redirect_slots(object->dlpi_addr, &tables, tables.jumps,
                       tables.jumps + tables.jumps_size / sizeof *tables.jumps);
    size_t others = tables.others_size / sizeof *tables.others;
    if (tables.others != NULL && tables.relative_count <= others)
        redirect_slots(object->dlpi_addr, &tables, tables.others + tables.relative_count,
                       tables.others + others);
}

void lp_redirect_forget(unsigned long long unloads)
{
    if (unloads != seen_unloads)
        seen_count = slot_count = 0;
    seen_unloads = unloads;
}

void lp_redirect(const struct dl_phdr_info *object)
{
    for (size_t i = 0; i < seen_count; i++)
        if (seen[i].base == object->dlpi_addr && seen[i].headers == object->dlpi_phdr) {
            for (uint32_t k = 0; k < seen[i].slots; k++)
                set_slot(slots[seen[i].first_slot + k].word, slots[seen[i].first_slot + k].ours,
                         size_of(object));
            return;
        }
    size_t first = slot_count;
    redirect_object(object);
    /* One that has no room here is gone through each time. */
    if (seen_count == sizeof seen / sizeof *seen || slot_count > sizeof slots / sizeof *slots) {
        slot_count = first;
        return;
    }
    seen[seen_count].base = object->dlpi_addr;
    seen[seen_count].headers = object->dlpi_phdr;
    seen[seen_count].first_slot = (uint32_t)first;
    seen[seen_count].slots = (uint32_t)(slot_count - first);
    seen_count++;
}
