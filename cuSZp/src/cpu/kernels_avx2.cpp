// The block kernels compiled with AVX2; the same source as the baseline, so the same bytes.
#include "cpu/kernel_table.h"

namespace cuszp {

const Kernels kAvx2Kernels = kTable;

}  // namespace cuszp
