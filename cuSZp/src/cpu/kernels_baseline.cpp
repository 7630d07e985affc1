// The block kernels for the processor family's common ground, and the choice between the tables.
#include "cpu/kernel_table.h"

namespace cuszp {

const Kernels& kernels() {
#ifdef CUSZP_HAVE_AVX2_KERNELS
  static const bool has_avx2 = __builtin_cpu_supports("avx2");
  if (has_avx2) return kAvx2Kernels;
#endif
  return kTable;
}

}  // namespace cuszp
