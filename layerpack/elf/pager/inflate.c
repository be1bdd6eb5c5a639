/* zstd's decoder, from its own single source file, in memory that is given to it.
 *
 * The build puts zstd.c on the include path; the compressor in it is left out by the linker. */
#define ZSTDLIB_VISIBLE
#define ZSTDLIB_HIDDEN
#define ZSTDERRORLIB_VISIBLE
#define ZDICTLIB_VISIBLE
#define ZSTD_DISABLE_ASM 1
#define ZSTD_TRACE 0
#define ZSTD_STATIC_LINKING_ONLY
#include "zstd.c"

#include "pager.h"

size_t lp_inflate_memory(void)
{
    return ZSTD_estimateDCtxSize();
}

void *lp_inflate_start(void *memory, size_t size)
{
    return ZSTD_initStaticDCtx(memory, size);
}

bool lp_inflate(void *decompressor, uint8_t *to, size_t size, const uint8_t *from, size_t length)
{
    return ZSTD_decompressDCtx(decompressor, to, size, from, length) == size;
}

uint32_t lp_checksum(const void *data, size_t size)
{
    return (uint32_t)XXH64(data, size, 0);
}
