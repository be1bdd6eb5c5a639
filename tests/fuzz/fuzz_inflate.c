/* The inflater: a frame is exactly what it says, or refused, and neither reads nor writes past its
 * bounds; a refused one leaves no trace in the decompressor. */
#include <stdlib.h>
#include <string.h>

#include "pager.h"

#include "zstd.h"

static void *decompressor;

static bool inflate_copy(uint8_t *to, size_t size, const uint8_t *from, size_t length)
{
    /* Memory of exactly its size, for the address sanitizer. */
    uint8_t *copy = malloc(length);
    memcpy(copy, from, length);
    bool sound = lp_inflate(decompressor, to, size, copy, length);
    free(copy);
    return sound;
}

static void check_arbitrary(const uint8_t *frame, size_t length, size_t size)
{
    uint8_t *first = malloc(size), *second = malloc(size);
    memset(first, 0, size);
    memset(second, 0xFF, size);
    bool sound = inflate_copy(first, size, frame, length);
    if (inflate_copy(second, size, frame, length) != sound ||
        (sound && memcmp(first, second, size) != 0))
        abort();
    free(first);
    free(second);
}

static void check_round(const uint8_t *data, size_t size, uint8_t level, uint8_t damage)
{
    size_t room = ZSTD_compressBound(size);
    uint8_t *frame = malloc(room), *back = malloc(size);
    ZSTD_CCtx *compressor = ZSTD_createCCtx();
    ZSTD_CCtx_setParameter(compressor, ZSTD_c_compressionLevel, level % 8);
    ZSTD_CCtx_setParameter(compressor, ZSTD_c_checksumFlag, 1);
    size_t length = ZSTD_compress2(compressor, frame, room, data, size);
    ZSTD_freeCCtx(compressor);
    if (!inflate_copy(back, size, frame, length) || memcmp(back, data, size) != 0)
        abort();
    /* Another size is none of the frame's, and half a frame is none. */
    uint8_t *larger = malloc(size + 1);
    if (inflate_copy(larger, size + 1, frame, length) || inflate_copy(back, size, frame, length / 2))
        abort();
    free(larger);
    /* A bit that is not as it was is seen, or makes no difference. */
    frame[length * damage / 256] ^= (uint8_t)(1 << damage % 8);
    if (inflate_copy(back, size, frame, length) && memcmp(back, data, size) != 0)
        abort();
    free(frame);
    free(back);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    if (size < 4)
        return 0;
    if (decompressor == NULL)
        decompressor = lp_inflate_start(malloc(lp_inflate_memory()), lp_inflate_memory());
    if (input[0] & 1)
        check_round(input + 4, size - 4, input[1], input[2]);
    else
        check_arbitrary(input + 4, size - 4, input[2] | (size_t)input[3] << 8);
    return 0;
}
