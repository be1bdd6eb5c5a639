/* The format that the packer writes and the pager reads: the one description in C.
 *
 * A packed library carries a program header of type LP_PT_INDEX; its p_vaddr and p_filesz are the
 * index below. All numbers are little-endian; offsets count from the index's first byte; parts are
 * aligned to 8 bytes. Addresses are those of the file (before the loader adds its base).
 *
 * A *range* is a run of pages that the loader leaves as a hole: a PT_LOAD of its own without bytes
 * and without rights, so that its addresses are the library's for whoever asks. Pages are numbered through all
 * ranges, in ascending order of address; that depends on the original library alone, so that a
 * recording stays valid whatever the compression. A *window* is what is decompressed at one time:
 * one or more *runs* of pages, each within one range. Every page is in exactly one window.
 *
 * A window's bytes are its runs' bytes, one after the other, each run of an executable range
 * passed through the filter, then one zstd frame (with content size and checksum).
 *
 * Filter LP_FILTER_X86_64, within one run, scanning from its first byte on. A distance of four
 * bytes follows these: E8, E9 (CALL, JMP); 89, 8B, 8D (MOV, LEA) with a ModRM byte that means an
 * address relative to the instruction's end ((byte & C7) == 05); FF with 15, 25 or 35 (indirect
 * CALL, JMP, PUSH); 0F with one of 10 11 28 29 2E 2F 54 57 58 59 5C 5E 6F 7F (SSE) and such a ModRM
 * byte. Where the four bytes lie in the run and, as a signed number, fit in `filter_bits` bits,
 * they were replaced by (number + address of the byte after them), wrapped to that many bits and
 * sign extended. Whether they fit or not, the scan goes on after them; elsewhere, at the next byte.
 *
 * Filter LP_FILTER_AARCH64: in every aligned word that is BL (w >> 26 == 0x25), imm26 was replaced
 * by (imm26 + (address of the word >> 2)) mod 2^26.
 *
 * The same calls from different places become the same bytes so, which zstd then finds.
 *
 * A *block* is read-only data that is absent too, until the library is loaded: nothing that faults
 * tells that a system call wants it, so all blocks are decompressed before any code of the library
 * runs. Their pages have no numbers, so that a recording is valid with and without them. A block is
 * one zstd frame (with content size and checksum), without a filter. The library's DT_INIT is the
 * *starter* then: it reads a byte of the first block, so that the pager is asked, and goes on to the
 * original one.
 *
 * Code that was *left out* is replaced by instructions that fault wherever a function's start is
 * jumped to, and tell the pager where that was: on x86_64 every byte is HLT, which a program must
 * not execute; on aarch64 each pair of words is ADR x16, 0 (a register that every call may spoil)
 * and BR xzr, a jump to address 0. `drops` tells what was there, for messages. Its *entries* are
 * starts of functions that throw a C++ exception instead of ending the process; its *probes* are
 * instructions of which the first byte alone was replaced by HLT, in libraries that are packed to
 * see whether they run.
 */
#ifndef LAYERPACK_FORMAT_H
#define LAYERPACK_FORMAT_H

#include <stdint.h>

/* Within PT_LOOS..PT_HIOS: the loader ignores it. */
#define LP_PT_INDEX 0x6C706167u
#define LP_MAGIC "LAYERPAK"
#define LP_VERSION 3u
#define LP_PAGE 4096u

enum { LP_FILTER_NONE = 0, LP_FILTER_X86_64 = 1, LP_FILTER_AARCH64 = 2 };

struct lp_index {
    char magic[8];         /* LP_MAGIC without its final NUL */
    uint32_t version;      /* LP_VERSION */
    uint32_t checksum;     /* low 32 bits of XXH64 (seed 0) of the index from offset 16 to its end */
    uint64_t size;         /* of the whole index, in bytes */
    uint8_t source[32];    /* SHA-256 of the original library */
    uint64_t frames;       /* address of the zstd frames */
    uint64_t frames_size;  /* bytes */
    uint32_t page_count;   /* pages of all ranges */
    uint32_t range_count;
    uint32_t window_count;
    uint32_t run_count;
    uint32_t ranges;       /* offset of struct lp_range[range_count], ascending */
    uint32_t pages;        /* offset of uint32_t[page_count]: the window of each page */
    uint32_t windows;      /* offset of struct lp_window[window_count] */
    uint32_t runs;         /* offset of struct lp_run[run_count] */
    uint32_t filter;       /* LP_FILTER_* */
    uint32_t filter_bits;  /* for LP_FILTER_X86_64 */
    uint32_t name;         /* offset of the file's name, NUL-terminated, for messages */
    uint32_t largest_window; /* bytes of the largest window, decompressed */
    uint32_t drops;        /* offset of struct lp_drops; 0 where nothing was left out */
    uint32_t blocks;       /* offset of struct lp_block[block_count], ascending */
    uint32_t block_count;
    uint32_t reserved;
    uint64_t starter;      /* address of its code; 0 without blocks */
};

struct lp_range {
    uint64_t vaddr;
    uint32_t pages;
    uint32_t first_page;   /* the number of its first page */
    uint32_t flags;        /* PF_R, PF_X */
    uint32_t reserved;
};

struct lp_window {
    uint64_t offset;       /* of the frame, from `frames` */
    uint32_t size;         /* of the frame, bytes */
    uint32_t raw;          /* decompressed, bytes */
    uint32_t first_run;    /* its runs end where the next window's begin (the last: run_count) */
    uint32_t checksum;     /* low 32 bits of XXH64 (seed 0) of the final bytes */
};

struct lp_run {
    uint32_t page;
    uint32_t pages;
};

struct lp_block {
    uint64_t vaddr;
    uint64_t offset;       /* of the frame, from `frames` */
    uint32_t size;         /* of the frame, bytes */
    uint32_t pages;
    uint32_t flags;        /* PF_R, PF_X */
    uint32_t reserved;
};

/* What the processor must have; 0 for any that the loader takes. */
enum { LP_NEEDS_NOTHING = 0, LP_NEEDS_AVX2 = 1, LP_NEEDS_AVX512 = 2, LP_NEEDS_SVE = 3 };

/* Offsets count from its own first byte. */
struct lp_drops {
    uint64_t thrower;      /* address of void (const char *), which throws; 0 without entries */
    uint32_t needs;        /* LP_NEEDS_* */
    uint32_t advice;       /* offset of a text: what to do on a processor that lacks it */
    uint32_t table;        /* offset of a zstd frame; decompressed, a struct lp_table */
    uint32_t table_size;   /* of the frame, bytes */
    uint32_t table_raw;    /* decompressed, bytes */
    uint32_t reserved;
};

/* Texts are NUL-terminated, by their offsets from the table's start; the three arrays follow this
 * header, each ascending by address. */
struct lp_table {
    uint32_t dropped_count;
    uint32_t entry_count;
    uint32_t probe_count;
    uint32_t reserved;
};

struct lp_dropped {
    uint32_t vaddr;
    uint32_t size;         /* bytes */
    uint32_t name;         /* the nearest symbol's */
    uint32_t advice;       /* what brings it back */
};

/* Functions are shared by several things that a program knows by name; which one it wanted is told
 * by an argument. From it, `steps` times the first word of what it points to leads to the name. */
struct lp_entry {
    uint32_t vaddr;
    uint32_t before, after; /* the exception's text, around the name */
    uint32_t name;         /* where the argument does not tell it */
    uint16_t argument;     /* 1 for the first, 2 for the second; 0 where none tells it */
    uint16_t steps;
};

struct lp_probe {
    uint32_t vaddr;
    uint32_t original;     /* the byte that was there */
};

_Static_assert(sizeof(struct lp_index) == 144, "index");
_Static_assert(sizeof(struct lp_range) == 24, "range");
_Static_assert(sizeof(struct lp_window) == 24, "window");
_Static_assert(sizeof(struct lp_run) == 8, "run");
_Static_assert(sizeof(struct lp_block) == 32, "block");
_Static_assert(sizeof(struct lp_drops) == 32, "drops");
_Static_assert(sizeof(struct lp_table) == 16, "table");
_Static_assert(sizeof(struct lp_dropped) == 16, "dropped");
_Static_assert(sizeof(struct lp_entry) == 20, "entry");
_Static_assert(sizeof(struct lp_probe) == 8, "probe");

#endif
