// The module kvbench._ext._cpu: the codec library on the host, pointers as integers.
#include "kv_bindings.h"
#include "module.h"

namespace kvbench {
namespace {

using Address = uintptr_t;

PyObject* codec_error = nullptr;  // owned by the module

py::tuple measure_range(Address values, int dtype, uint64_t n, unsigned threads) {
  cuszp_range range = {};
  cuszp_status status;
  {
    const py::gil_scoped_release unlocked;
    status =
        cuszp_measure_range(reinterpret_cast<const void*>(values), static_cast<cuszp_dtype>(dtype), n, threads, &range);
  }
  check(codec_error, status);
  return py::make_tuple(range.minimum, range.maximum, range.max_abs, range.non_finite);
}

uint64_t compress(Address values, int dtype, uint64_t n, float error_bound, int mode, unsigned threads, Address stream,
                  uint64_t capacity) {
  uint64_t stream_bytes = 0;
  cuszp_status status;
  {
    const py::gil_scoped_release unlocked;
    status = cuszp_compress(reinterpret_cast<const void*>(values), static_cast<cuszp_dtype>(dtype), n, error_bound,
                            static_cast<cuszp_mode>(mode), threads, reinterpret_cast<uint8_t*>(stream), capacity,
                            &stream_bytes);
  }
  check(codec_error, status);
  return stream_bytes;
}

void decompress_range(Address stream, uint64_t stream_bytes, uint64_t n, float error_bound, int mode, int dtype,
                      uint64_t first, uint64_t count, unsigned threads, Address values) {
  cuszp_status status;
  {
    const py::gil_scoped_release unlocked;
    status = cuszp_decompress_range(reinterpret_cast<const uint8_t*>(stream), stream_bytes, n, error_bound,
                                    static_cast<cuszp_mode>(mode), static_cast<cuszp_dtype>(dtype), first, count,
                                    threads, reinterpret_cast<void*>(values));
  }
  check(codec_error, status);
}

void decompress(Address stream, uint64_t stream_bytes, uint64_t n, float error_bound, int mode, int dtype,
                unsigned threads, Address values) {
  decompress_range(stream, stream_bytes, n, error_bound, mode, dtype, 0, n, threads, values);
}

void kv_store(Address planes, uint32_t plane_count, Address moves, uint32_t move_count, Address slots,
              uint32_t slot_count, Address page_numbers, Address slab, uint64_t page_bytes, uint32_t dtype,
              Address cursors, bool with_checksum, unsigned threads, Address streams) {
  const cuszp_kv_call call =
      kv_call(planes, plane_count, moves, move_count, slots, slot_count, page_numbers, slab, page_bytes, dtype);
  cuszp_status status;
  {
    const py::gil_scoped_release unlocked;
    status = cuszp_kv_store(&call, reinterpret_cast<uint64_t*>(cursors), with_checksum, threads,
                            reinterpret_cast<cuszp_kv_stream*>(streams));
  }
  check(codec_error, status);
}

void kv_load(Address planes, uint32_t plane_count, Address moves, uint32_t move_count, Address slots,
             uint32_t slot_count, Address page_numbers, Address slab, uint64_t page_bytes, uint32_t dtype,
             Address streams, bool with_checksum, unsigned threads, Address statuses) {
  const cuszp_kv_call call =
      kv_call(planes, plane_count, moves, move_count, slots, slot_count, page_numbers, slab, page_bytes, dtype);
  cuszp_status status;
  {
    const py::gil_scoped_release unlocked;
    status = cuszp_kv_load(&call, reinterpret_cast<const cuszp_kv_stream*>(streams), with_checksum, threads,
                           reinterpret_cast<uint32_t*>(statuses));
  }
  check(codec_error, status);
}

}  // namespace
}  // namespace kvbench

PYBIND11_MODULE(_cpu, module) {
  using namespace pybind11::literals;
  module.doc() = "The codec library on the host. Pointers are integers; sizes are elements unless named bytes.";
  kvbench::codec_error = kvbench::add_codec_error(module);
  kvbench::add_constants(module);
  module.def("metadata_bytes", &cuszp_metadata_bytes, "n"_a);
  module.def("max_compressed_bytes", &cuszp_max_compressed_bytes, "n"_a);
  module.def("strict_error_bound", &cuszp_strict_error_bound, "bound"_a, "max_abs"_a);
  module.def("measure_range", &kvbench::measure_range, "values"_a, "dtype"_a, "n"_a, "threads"_a);
  module.def("compress", &kvbench::compress, "values"_a, "dtype"_a, "n"_a, "error_bound"_a, "mode"_a, "threads"_a,
             "stream"_a, "capacity"_a);
  module.def("decompress", &kvbench::decompress, "stream"_a, "stream_bytes"_a, "n"_a, "error_bound"_a, "mode"_a,
             "dtype"_a, "threads"_a, "values"_a);
  module.def("decompress_range", &kvbench::decompress_range, "stream"_a, "stream_bytes"_a, "n"_a, "error_bound"_a,
             "mode"_a, "dtype"_a, "first"_a, "count"_a, "threads"_a, "values"_a);
  kvbench::add_kv_constants(module);
  module.def("kv_store", &kvbench::kv_store, "planes"_a, "plane_count"_a, "moves"_a, "move_count"_a, "slots"_a,
             "slot_count"_a, "page_numbers"_a, "slab"_a, "page_bytes"_a, "dtype"_a, "cursors"_a, "with_checksum"_a,
             "threads"_a, "streams"_a);
  module.def("kv_load", &kvbench::kv_load, "planes"_a, "plane_count"_a, "moves"_a, "move_count"_a, "slots"_a,
             "slot_count"_a, "page_numbers"_a, "slab"_a, "page_bytes"_a, "dtype"_a, "streams"_a, "with_checksum"_a,
             "threads"_a, "statuses"_a);
}
