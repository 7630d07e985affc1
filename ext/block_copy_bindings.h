// The part of the module kvbench._ext._cuda about copies of scattered blocks.
#ifndef KVBENCH_EXT_BLOCK_COPY_BINDINGS_H
#define KVBENCH_EXT_BLOCK_COPY_BINDINGS_H

#include "module.h"

namespace kvbench {

// Adds the functions; a call that CUDA refuses raises RuntimeError with CUDA's words.
void add_block_copy(py::module_& module);

}  // namespace kvbench

#endif
