/* The filter, by the words of format.h: what they say is done byte by byte here, both ways. */
#include <stdlib.h>

#include "filter.c"

static int is_modrm(uint8_t byte) { return (byte & 0xC7) == 0x05; }

static size_t before_distance(const uint8_t *data, size_t left)
{
    static const uint8_t sse[] = {0x10, 0x11, 0x28, 0x29, 0x2E, 0x2F, 0x54,
                                  0x57, 0x58, 0x59, 0x5C, 0x5E, 0x6F, 0x7F};
    if (left >= 1 && (data[0] == 0xE8 || data[0] == 0xE9))
        return 1;
    if (left >= 2 && (data[0] == 0x89 || data[0] == 0x8B || data[0] == 0x8D) && is_modrm(data[1]))
        return 2;
    if (left >= 2 && data[0] == 0xFF && (data[1] == 0x15 || data[1] == 0x25 || data[1] == 0x35))
        return 2;
    if (left >= 3 && data[0] == 0x0F && is_modrm(data[2]) && memchr(sse, data[1], sizeof sse))
        return 3;
    return 0;
}

static void convert(uint8_t *data, size_t size, uint64_t vaddr, unsigned bits, int sign)
{
    const int64_t half = (int64_t)1 << (bits - 1);
    for (size_t i = 0; i < size;) {
        size_t opcode = before_distance(data + i, size - i);
        if (opcode == 0 || i + opcode + 4 > size) {
            i++;
            continue;
        }
        i += opcode + 4;
        int32_t number;
        memcpy(&number, data + i - 4, 4);
        if (number < -half || number >= half)
            continue;
        __int128 sum = number + sign * (__int128)(vaddr + i);
        sum &= ((__int128)1 << bits) - 1;
        number = (int32_t)(sum >= half ? sum - 2 * half : sum);
        memcpy(data + i - 4, &number, 4);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    if (size < 8)
        return 0;
    struct lp_index index = {.filter = LP_FILTER_X86_64, .filter_bits = 2 + input[0] % 31};
    uint32_t place;
    memcpy(&place, input + 4, 4);
    uint64_t vaddr = (uint64_t)place << input[1] % 32;
    input += 8, size -= 8;
    uint8_t *data = malloc(size), *expected = malloc(size);
    memcpy(data, input, size);
    memcpy(expected, input, size);
    lp_unfilter(&index, data, size, vaddr);
    convert(expected, size, vaddr, index.filter_bits, -1);
    if (memcmp(data, expected, size) != 0)
        abort();
    convert(data, size, vaddr, index.filter_bits, 1);
    if (memcmp(data, input, size) != 0)
        abort();
    free(data);
    free(expected);
    return 0;
}
