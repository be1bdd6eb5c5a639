/* The inverse of the packer's filters (described in format.h). A library runs on its own machine
 * alone, so each pager has its own filter. */
#include <string.h>

#include "pager.h"

#if defined(__x86_64__)

#include <emmintrin.h>

/* A distance and the longest opcode before it (0F, another byte, ModRM). */
#define DISTANCE 4
#define LONGEST_OPCODE 3
#define BLOCK 64

/* Whether a ModRM byte says: an address relative to the instruction's end. */
static bool is_relative(uint8_t modrm)
{
    return (modrm & 0xC7) == 0x05;
}

/* The bytes before a distance, 0 where none begins. At least 4 more bytes can be read. */
static size_t opcode_length(const uint8_t *code)
{
    switch (code[0]) {
    case 0xE8:
    case 0xE9:
        return 1;
    case 0x89:
    case 0x8B:
    case 0x8D:
        return is_relative(code[1]) ? 2 : 0;
    case 0xFF:
        return code[1] == 0x15 || code[1] == 0x25 || code[1] == 0x35 ? 2 : 0;
    case 0x0F:
        switch (code[1]) {
        case 0x10: case 0x11: case 0x28: case 0x29: case 0x2E: case 0x2F: case 0x54:
        case 0x57: case 0x58: case 0x59: case 0x5C: case 0x5E: case 0x6F: case 0x7F:
            return is_relative(code[2]) ? 3 : 0;
        }
        return 0;
    default:
        return 0;
    }
}

static __m128i equals(__m128i bytes, int value)
{
    return _mm_cmpeq_epi8(bytes, _mm_set1_epi8((char)value));
}

/* Where opcodes of one, two and three bytes begin: a bit for each byte of a block. */
struct opcodes {
    uint64_t one, two, three;
};

/* Of 16 bytes, their bits `at` on. Reads LONGEST_OPCODE - 1 bytes beyond them. */
static void add_opcodes(const uint8_t *code, unsigned at, struct opcodes *found)
{
    __m128i here = _mm_loadu_si128((const __m128i *)code);
    __m128i next = _mm_loadu_si128((const __m128i *)(code + 1));
    __m128i third = _mm_loadu_si128((const __m128i *)(code + 2));
    __m128i modrm_bits = _mm_set1_epi8((char)0xC7);
    __m128i next_relative = equals(_mm_and_si128(next, modrm_bits), 0x05);
    __m128i third_relative = equals(_mm_and_si128(third, modrm_bits), 0x05);
    __m128i branch = equals(_mm_or_si128(here, _mm_set1_epi8(1)), 0xE9);
    __m128i move = _mm_or_si128(_mm_or_si128(equals(here, 0x89), equals(here, 0x8B)),
                                equals(here, 0x8D));
    __m128i indirect = _mm_or_si128(_mm_or_si128(equals(next, 0x15), equals(next, 0x25)),
                                    equals(next, 0x35));
    __m128i two = _mm_or_si128(_mm_and_si128(move, next_relative),
                               _mm_and_si128(equals(here, 0xFF), indirect));
    __m128i vector = _mm_and_si128(equals(here, 0x0F), third_relative);
    found->one |= (uint64_t)(uint32_t)_mm_movemask_epi8(branch) << at;
    found->two |= (uint64_t)(uint32_t)_mm_movemask_epi8(two) << at;
    found->three |= (uint64_t)(uint32_t)_mm_movemask_epi8(vector) << at;
}

static struct opcodes opcodes_in(const uint8_t *code)
{
    struct opcodes found = {0, 0, 0};
    for (unsigned at = 0; at < BLOCK; at += 16)
        add_opcodes(code + at, at, &found);
    /* Few: not worth 14 comparisons of the second byte. */
    for (uint64_t rest = found.three; rest != 0; rest &= rest - 1)
        if (opcode_length(code + __builtin_ctzll(rest)) == 0)
            found.three &= ~(rest & -rest);
    return found;
}

/* Restores the distance that ends at `end`, if it was replaced. Whether it was is not to be
 * foreseen, as many are no code: there is no branch on it. */
static void restore(uint8_t *data, size_t end, uint64_t vaddr, unsigned bits)
{
    const int64_t half = (int64_t)1 << (bits - 1);
    int32_t stored;
    memcpy(&stored, data + end - DISTANCE, DISTANCE);
    /* Unsigned, where overflow is defined; then bit `bits` - 1 is extended. */
    uint64_t distance = (uint64_t)(int64_t)stored - (vaddr + end);
    int32_t restored = (int32_t)((int64_t)(distance << (64 - bits)) >> (64 - bits));
    int32_t fits = -(stored >= -half && stored < half);
    restored = (restored & fits) | (stored & ~fits);
    memcpy(data + end - DISTANCE, &restored, DISTANCE);
}

static void unfilter_x86_64(uint8_t *data, size_t size, uint64_t vaddr, unsigned bits)
{
    size_t next = 0; /* where the scan goes on */
    size_t block = 0;
    for (; block + BLOCK - 1 + LONGEST_OPCODE + DISTANCE <= size; block += BLOCK) {
        struct opcodes opcodes = opcodes_in(data + block);
        uint64_t found = opcodes.one | opcodes.two | opcodes.three;
        for (; found != 0; found &= found - 1) {
            uint64_t bit = found & -found;
            size_t start = block + (size_t)__builtin_ctzll(found);
            /* An opcode's own bytes begin no other one. */
            if (start < next)
                continue;
            size_t length = 1 + ((opcodes.two & bit) != 0) + 2 * ((opcodes.three & bit) != 0);
            next = start + length + DISTANCE;
            restore(data, next, vaddr, bits);
        }
    }
    for (size_t i = next > block ? next : block; i + 1 + DISTANCE <= size; i++) {
        size_t length = opcode_length(data + i);
        if (length != 0 && i + length + DISTANCE <= size) {
            restore(data, i + length + DISTANCE, vaddr, bits);
            i += length + DISTANCE - 1;
        }
    }
}

#elif defined(__aarch64__)

static void unfilter_aarch64(uint8_t *data, size_t size, uint64_t vaddr)
{
    for (size_t i = 0; i + 4 <= size; i += 4) {
        uint32_t word;
        memcpy(&word, data + i, 4);
        if (word >> 26 != 0x25)
            continue;
        uint32_t distance = word - (uint32_t)((vaddr + i) >> 2);
        word = (0x25u << 26) | (distance & 0x03FFFFFFu);
        memcpy(data + i, &word, 4);
    }
}

#endif

void lp_unfilter(const struct lp_index *index, uint8_t *data, size_t size, uint64_t vaddr)
{
#if defined(__x86_64__)
    if (index->filter == LP_FILTER_X86_64)
        unfilter_x86_64(data, size, vaddr, index->filter_bits);
#elif defined(__aarch64__)
    if (index->filter == LP_FILTER_AARCH64)
        unfilter_aarch64(data, size, vaddr);
#endif
}
