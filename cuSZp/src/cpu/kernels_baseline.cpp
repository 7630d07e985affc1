// The block kernels for what all processors of the family have, and the choice between the tables.
#include "cpu/kernel_table.h"

namespace cuszp {

const Kernels& baseline_kernels() {
  return kTable;
}

const Kernels& kernels() {
#ifdef CUSZP_HAVE_AVX2_KERNELS
  static const bool has_avx2 = __builtin_cpu_supports("avx2");
  if (has_avx2) return avx2_kernels();
#endif
  return kTable;
}

}  // namespace cuszp
