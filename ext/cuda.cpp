// The module kvbench._ext._cuda: the codec library on CUDA devices, pointers and streams as integers.
#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>

#include "block_copy_bindings.h"
#include "cuszp/cuszp_cuda_kv.h"
#include "kv_bindings.h"
#include "module.h"

namespace kvbench {
namespace {

using Address = uintptr_t;

// What calls write for the host, in pinned memory that the device writes to directly.
struct Answers {
  cuszp_range range;
  uint64_t stream_bytes;
  uint32_t status;
};

PyObject* codec_error = nullptr;  // the class of kvbench._ext._cpu, so that one except clause serves both

template <typename T>
T* at(Address address) {
  return reinterpret_cast<T*>(address);
}

// As check, with the device's own reason when CUDA itself failed.
void check_call(cuszp_status status) {
  if (status == CUSZP_CUDA_ERROR) {
    if (const char* problem = cuszp_cuda_device_problem()) {
      PyErr_SetObject(codec_error, py::make_tuple(static_cast<int>(status), problem).ptr());
      throw py::error_already_set();
    }
  }
  check(codec_error, status);
}

py::object device_problem() {
  const char* const problem = cuszp_cuda_device_problem();
  return problem ? py::object(py::str(problem)) : py::object(py::none());
}

void workspace_init(Address workspace, uint64_t workspace_bytes, Address cuda_stream) {
  check_call(cuszp_cuda_workspace_init(at<void>(workspace), workspace_bytes, at<void>(cuda_stream)));
}

void compress(Address values, int dtype, uint64_t n, float error_bound, Address error_bound_device, int mode,
              Address stream, uint64_t capacity, Address stream_bytes, Address status, Address workspace,
              uint64_t workspace_bytes, Address cuda_stream) {
  check_call(cuszp_cuda_compress(at<const void>(values), static_cast<cuszp_dtype>(dtype), n, error_bound,
                                 at<const float>(error_bound_device), static_cast<cuszp_mode>(mode),
                                 at<uint8_t>(stream), capacity, at<uint64_t>(stream_bytes), at<uint32_t>(status),
                                 at<void>(workspace), workspace_bytes, at<void>(cuda_stream)));
}

void decompress(Address stream, uint64_t stream_bytes, Address stream_bytes_device, uint64_t n, float error_bound,
                Address error_bound_device, int mode, int dtype, Address values, Address status, Address workspace,
                uint64_t workspace_bytes, Address cuda_stream) {
  check_call(cuszp_cuda_decompress(at<const uint8_t>(stream), stream_bytes, at<const uint64_t>(stream_bytes_device), n,
                                   error_bound, at<const float>(error_bound_device), static_cast<cuszp_mode>(mode),
                                   static_cast<cuszp_dtype>(dtype), at<void>(values), at<uint32_t>(status),
                                   at<void>(workspace), workspace_bytes, at<void>(cuda_stream)));
}

void measure_range(Address values, int dtype, uint64_t n, Address measured, Address workspace, uint64_t workspace_bytes,
                   Address cuda_stream) {
  check_call(cuszp_cuda_measure_range(at<const void>(values), static_cast<cuszp_dtype>(dtype), n,
                                      at<cuszp_range>(measured), at<void>(workspace), workspace_bytes,
                                      at<void>(cuda_stream)));
}

void effective_bound(Address measured, int kind, double value, int policy, Address bound, Address cuda_stream) {
  check_call(cuszp_cuda_effective_bound(at<const cuszp_range>(measured), static_cast<cuszp_cuda_bound_kind>(kind),
                                        value, static_cast<cuszp_cuda_bound_policy>(policy), at<float>(bound),
                                        at<void>(cuda_stream)));
}

// Lets other Python threads run while the stream does.
void wait_for(Address cuda_stream) {
  const py::gil_scoped_release released;
  const cudaError_t error = cudaStreamSynchronize(at<CUstream_st>(cuda_stream));
  if (error != cudaSuccess) throw std::runtime_error(std::string("CUDA: ") + cudaGetErrorString(error));
}

py::tuple measure_range_and_wait(Address values, int dtype, uint64_t n, Address answers, Address workspace,
                                 uint64_t workspace_bytes, Address cuda_stream) {
  measure_range(values, dtype, n, answers + offsetof(Answers, range), workspace, workspace_bytes, cuda_stream);
  wait_for(cuda_stream);
  const cuszp_range& range = at<const Answers>(answers)->range;
  return py::make_tuple(range.minimum, range.maximum, range.max_abs, range.non_finite);
}

py::tuple compress_and_wait(Address values, int dtype, uint64_t n, float error_bound, int mode, Address stream,
                            uint64_t capacity, Address answers, Address workspace, uint64_t workspace_bytes,
                            Address cuda_stream) {
  compress(values, dtype, n, error_bound, 0, mode, stream, capacity, answers + offsetof(Answers, stream_bytes),
           answers + offsetof(Answers, status), workspace, workspace_bytes, cuda_stream);
  wait_for(cuda_stream);
  const Answers& found = *at<const Answers>(answers);
  return py::make_tuple(found.stream_bytes, found.status);
}

// `bound` is device memory for one float. It is left alone where the host knows the bound: no range enters it.
py::tuple measure_compress_and_wait(Address values, int dtype, uint64_t n, int kind, double value, int policy, int mode,
                                    Address stream, uint64_t capacity, Address answers, Address bound,
                                    Address workspace, uint64_t workspace_bytes, Address cuda_stream) {
  measure_range(values, dtype, n, answers + offsetof(Answers, range), workspace, workspace_bytes, cuda_stream);
  const bool known = kind == CUSZP_CUDA_BOUND_ABS && policy == CUSZP_CUDA_BOUND_COMPATIBLE &&
                     value <= std::numeric_limits<float>::max() && static_cast<float>(value) > 0.0f;
  if (!known) effective_bound(answers + offsetof(Answers, range), kind, value, policy, bound, cuda_stream);
  compress(values, dtype, n, known ? static_cast<float>(value) : 0.0f, known ? 0 : bound, mode, stream, capacity,
           answers + offsetof(Answers, stream_bytes), answers + offsetof(Answers, status), workspace, workspace_bytes,
           cuda_stream);
  wait_for(cuda_stream);
  const Answers& found = *at<const Answers>(answers);
  return py::make_tuple(found.range.minimum, found.range.maximum, found.range.max_abs, found.range.non_finite,
                        found.stream_bytes, found.status);
}

uint32_t decompress_and_wait(Address stream, uint64_t stream_bytes, uint64_t n, float error_bound, int mode, int dtype,
                             Address values, Address answers, Address workspace, uint64_t workspace_bytes,
                             Address cuda_stream) {
  decompress(stream, stream_bytes, 0, n, error_bound, 0, mode, dtype, values, answers + offsetof(Answers, status),
             workspace, workspace_bytes, cuda_stream);
  wait_for(cuda_stream);
  return at<const Answers>(answers)->status;
}

void compress_batch(Address items, uint64_t count, int dtype, float error_bound, int mode, uint64_t page_bytes,
                    int home, Address results, uint32_t most_blocks, Address cuda_stream) {
  check_call(cuszp_cuda_compress_batch(at<const cuszp_cuda_batch_item>(items), count, static_cast<cuszp_dtype>(dtype),
                                       error_bound, static_cast<cuszp_mode>(mode), page_bytes,
                                       static_cast<cuszp_cuda_pages_home>(home), at<cuszp_cuda_batch_result>(results),
                                       most_blocks, at<void>(cuda_stream)));
}

void decompress_batch(Address items, Address stored, uint64_t count, int dtype, float error_bound, int mode,
                      uint64_t page_bytes, Address statuses, uint32_t most_blocks, Address cuda_stream) {
  check_call(cuszp_cuda_decompress_batch(at<const cuszp_cuda_batch_item>(items),
                                         at<const cuszp_cuda_batch_result>(stored), count,
                                         static_cast<cuszp_dtype>(dtype), error_bound, static_cast<cuszp_mode>(mode),
                                         page_bytes, at<uint32_t>(statuses), most_blocks, at<void>(cuda_stream)));
}

void kv_store(Address planes, uint32_t plane_count, Address moves, uint32_t move_count, Address slots,
              uint32_t slot_count, Address page_numbers, Address slab, uint64_t page_bytes, uint32_t dtype,
              Address cursors, bool with_checksum, int home, uint32_t most_elements, uint32_t most_blocks,
              Address streams, Address cuda_stream) {
  const cuszp_kv_call call =
      kv_call(planes, plane_count, moves, move_count, slots, slot_count, page_numbers, slab, page_bytes, dtype);
  check_call(cuszp_cuda_kv_store(&call, at<uint64_t>(cursors), with_checksum, static_cast<cuszp_cuda_pages_home>(home),
                                 most_elements, most_blocks, at<cuszp_kv_stream>(streams), at<void>(cuda_stream)));
}

void kv_load(Address planes, uint32_t plane_count, Address moves, uint32_t move_count, Address slots,
             uint32_t slot_count, Address page_numbers, Address slab, uint64_t page_bytes, uint32_t dtype,
             Address streams, bool with_checksum, uint32_t most_elements, uint32_t most_blocks, Address statuses,
             Address cuda_stream) {
  const cuszp_kv_call call =
      kv_call(planes, plane_count, moves, move_count, slots, slot_count, page_numbers, slab, page_bytes, dtype);
  check_call(cuszp_cuda_kv_load(&call, at<const cuszp_kv_stream>(streams), with_checksum, most_elements, most_blocks,
                                at<uint32_t>(statuses), at<void>(cuda_stream)));
}

py::dict choices(std::initializer_list<std::pair<const char*, int>> pairs) {
  py::dict out;
  for (const auto& pair : pairs) out[pair.first] = pair.second;
  return out;
}

}  // namespace
}  // namespace kvbench

PYBIND11_MODULE(_cuda, module) {
  using namespace pybind11::literals;
  module.doc() = "The codec library on CUDA devices. Pointers and streams are integers; 0 is null.";
  module.attr("CodecError") = pybind11::module_::import("kvbench._ext._cpu").attr("CodecError");
  kvbench::codec_error = module.attr("CodecError").ptr();
  kvbench::add_constants(module);
  module.attr("BOUND_KINDS") = kvbench::choices({{"abs", CUSZP_CUDA_BOUND_ABS}, {"rel", CUSZP_CUDA_BOUND_REL}});
  module.attr("BOUND_POLICIES") =
      kvbench::choices({{"compatible", CUSZP_CUDA_BOUND_COMPATIBLE}, {"strict", CUSZP_CUDA_BOUND_STRICT}});
  module.attr("PAGES_HOMES") =
      kvbench::choices({{"device", CUSZP_CUDA_PAGES_ON_DEVICE}, {"host", CUSZP_CUDA_PAGES_ON_HOST}});
  kvbench::add_block_copy(module);
  module.attr("ANSWERS_BYTES") = sizeof(kvbench::Answers);
  module.attr("ANSWER_AT") = kvbench::choices({{"range", offsetof(kvbench::Answers, range)},
                                               {"stream_bytes", offsetof(kvbench::Answers, stream_bytes)},
                                               {"status", offsetof(kvbench::Answers, status)}});
  module.attr("RANGE_BYTES") = sizeof(cuszp_range);
  module.attr("BATCH_ITEM_BYTES") = sizeof(cuszp_cuda_batch_item);
  module.attr("BATCH_RESULT_BYTES") = sizeof(cuszp_cuda_batch_result);
  module.def("device_problem", &kvbench::device_problem);
  module.def("workspace_bytes", &cuszp_cuda_workspace_bytes, "n"_a);
  module.def("workspace_init", &kvbench::workspace_init, "workspace"_a, "workspace_bytes"_a, "cuda_stream"_a);
  module.def("compress", &kvbench::compress, "values"_a, "dtype"_a, "n"_a, "error_bound"_a, "error_bound_device"_a,
             "mode"_a, "stream"_a, "capacity"_a, "stream_bytes"_a, "status"_a, "workspace"_a, "workspace_bytes"_a,
             "cuda_stream"_a);
  module.def("decompress", &kvbench::decompress, "stream"_a, "stream_bytes"_a, "stream_bytes_device"_a, "n"_a,
             "error_bound"_a, "error_bound_device"_a, "mode"_a, "dtype"_a, "values"_a, "status"_a, "workspace"_a,
             "workspace_bytes"_a, "cuda_stream"_a);
  module.def("measure_range", &kvbench::measure_range, "values"_a, "dtype"_a, "n"_a, "measured"_a, "workspace"_a,
             "workspace_bytes"_a, "cuda_stream"_a);
  module.def("effective_bound", &kvbench::effective_bound, "measured"_a, "kind"_a, "value"_a, "policy"_a, "bound"_a,
             "cuda_stream"_a);
  module.def("measure_range_and_wait", &kvbench::measure_range_and_wait, "values"_a, "dtype"_a, "n"_a, "answers"_a,
             "workspace"_a, "workspace_bytes"_a, "cuda_stream"_a);
  module.def("compress_and_wait", &kvbench::compress_and_wait, "values"_a, "dtype"_a, "n"_a, "error_bound"_a, "mode"_a,
             "stream"_a, "capacity"_a, "answers"_a, "workspace"_a, "workspace_bytes"_a, "cuda_stream"_a);
  module.def("measure_compress_and_wait", &kvbench::measure_compress_and_wait, "values"_a, "dtype"_a, "n"_a, "kind"_a,
             "value"_a, "policy"_a, "mode"_a, "stream"_a, "capacity"_a, "answers"_a, "bound"_a, "workspace"_a,
             "workspace_bytes"_a, "cuda_stream"_a);
  module.def("decompress_and_wait", &kvbench::decompress_and_wait, "stream"_a, "stream_bytes"_a, "n"_a, "error_bound"_a,
             "mode"_a, "dtype"_a, "values"_a, "answers"_a, "workspace"_a, "workspace_bytes"_a, "cuda_stream"_a);
  module.def("compress_batch", &kvbench::compress_batch, "items"_a, "count"_a, "dtype"_a, "error_bound"_a, "mode"_a,
             "page_bytes"_a, "home"_a, "results"_a, "most_blocks"_a, "cuda_stream"_a);
  module.def("decompress_batch", &kvbench::decompress_batch, "items"_a, "stored"_a, "count"_a, "dtype"_a,
             "error_bound"_a, "mode"_a, "page_bytes"_a, "statuses"_a, "most_blocks"_a, "cuda_stream"_a);
  module.def("kv_store", &kvbench::kv_store, "planes"_a, "plane_count"_a, "moves"_a, "move_count"_a, "slots"_a,
             "slot_count"_a, "page_numbers"_a, "slab"_a, "page_bytes"_a, "dtype"_a, "cursors"_a, "with_checksum"_a,
             "home"_a, "most_elements"_a, "most_blocks"_a, "streams"_a, "cuda_stream"_a);
  module.def("kv_load", &kvbench::kv_load, "planes"_a, "plane_count"_a, "moves"_a, "move_count"_a, "slots"_a,
             "slot_count"_a, "page_numbers"_a, "slab"_a, "page_bytes"_a, "dtype"_a, "streams"_a, "with_checksum"_a,
             "most_elements"_a, "most_blocks"_a, "statuses"_a, "cuda_stream"_a);
}
