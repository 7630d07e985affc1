// Instantiates the block kernels for the instruction set that the including source is compiled for.
#ifndef CUSZP_SRC_CPU_KERNEL_TABLE_H
#define CUSZP_SRC_CPU_KERNEL_TABLE_H

#if defined(__AVX2__)
#include "bitplanes_avx2.h"
#else
#include "bitplanes.h"
#endif
#include "cpu/decode_blocks.h"
#include "cpu/encode_blocks.h"
#include "cpu/range_blocks.h"

namespace cuszp {
namespace {

constexpr Kernels kTable = {{{encode_blocks<Float32, CUSZP_MODE_FIXED>, encode_blocks<Float32, CUSZP_MODE_PLAIN>,
                              encode_blocks<Float32, CUSZP_MODE_OUTLIER>},
                             {encode_blocks<BFloat16, CUSZP_MODE_FIXED>, encode_blocks<BFloat16, CUSZP_MODE_PLAIN>,
                              encode_blocks<BFloat16, CUSZP_MODE_OUTLIER>},
                             {encode_blocks<Float16, CUSZP_MODE_FIXED>, encode_blocks<Float16, CUSZP_MODE_PLAIN>,
                              encode_blocks<Float16, CUSZP_MODE_OUTLIER>}},
                            {{decode_blocks<Float32, CUSZP_MODE_FIXED>, decode_blocks<Float32, CUSZP_MODE_PLAIN>,
                              decode_blocks<Float32, CUSZP_MODE_PLAIN>},
                             {decode_blocks<BFloat16, CUSZP_MODE_FIXED>, decode_blocks<BFloat16, CUSZP_MODE_PLAIN>,
                              decode_blocks<BFloat16, CUSZP_MODE_PLAIN>},
                             {decode_blocks<Float16, CUSZP_MODE_FIXED>, decode_blocks<Float16, CUSZP_MODE_PLAIN>,
                              decode_blocks<Float16, CUSZP_MODE_PLAIN>}},
                            {scan_range<Float32>, scan_range<BFloat16>, scan_range<Float16>}};

}  // namespace
}  // namespace cuszp

#endif
