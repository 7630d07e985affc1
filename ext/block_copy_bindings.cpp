// Bindings of block_copy.h, pointers and streams as integers.
#include "block_copy_bindings.h"

#include <stdexcept>
#include <string>

#include "block_copy.h"

namespace kvbench {
namespace {

using Address = uintptr_t;
using Addresses = void* const*;
using ConstAddresses = const void* const*;

void check(int error) {
  if (error != 0) throw std::runtime_error(std::string("CUDA: ") + block_copy::error_text(error));
}

Address mapped_pointer(Address host) {
  void* found = nullptr;
  check(block_copy::device_pointer(reinterpret_cast<void*>(host), &found));
  return reinterpret_cast<Address>(found);
}

void by_kernel(Address destinations, Address sources, uint64_t count, uint64_t block_bytes, uint32_t thread_blocks,
               Address cuda_stream) {
  check(block_copy::copy_by_kernel(reinterpret_cast<Addresses>(destinations), reinterpret_cast<ConstAddresses>(sources),
                                   count, block_bytes, thread_blocks, reinterpret_cast<void*>(cuda_stream)));
}

template <int (*copy)(void* const*, const void* const*, const size_t*, uint64_t, void*)>
void by_host(Address destinations, Address sources, Address sizes, uint64_t count, Address cuda_stream) {
  int error;
  {
    const py::gil_scoped_release unlocked;
    error = copy(reinterpret_cast<Addresses>(destinations), reinterpret_cast<ConstAddresses>(sources),
                 reinterpret_cast<const size_t*>(sizes), count, reinterpret_cast<void*>(cuda_stream));
  }
  check(error);
}

py::object batch_problem() {
  const char* const problem = block_copy::batch_problem();
  return problem ? py::object(py::str(problem)) : py::object(py::none());
}

}  // namespace

void add_block_copy(py::module_& module) {
  using namespace pybind11::literals;
  module.def("mapped_pointer", &mapped_pointer, "host"_a);
  module.def("copy_blocks_by_kernel", &by_kernel, "destinations"_a, "sources"_a, "count"_a, "block_bytes"_a,
             "thread_blocks"_a, "cuda_stream"_a);
  module.def("copy_blocks_one_by_one", &by_host<block_copy::copy_one_by_one>, "destinations"_a, "sources"_a, "sizes"_a,
             "count"_a, "cuda_stream"_a);
  module.def("copy_blocks_in_one_batch", &by_host<block_copy::copy_in_one_batch>, "destinations"_a, "sources"_a,
             "sizes"_a, "count"_a, "cuda_stream"_a);
  module.def("batch_copy_problem", &batch_problem);
}

}  // namespace kvbench
