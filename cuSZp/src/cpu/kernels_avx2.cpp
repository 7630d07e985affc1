// The block kernels compiled with AVX2, for the same bytes as the baseline.
#include "cpu/kernel_table.h"

namespace cuszp {

const Kernels& avx2_kernels() {
  return kTable;
}

}  // namespace cuszp
