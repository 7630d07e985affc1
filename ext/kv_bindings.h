// What both modules say about KV blocks: the sizes and places of the structures' members, and a call's arguments.
#ifndef KVBENCH_EXT_KV_BINDINGS_H
#define KVBENCH_EXT_KV_BINDINGS_H

#include <cstddef>

#include "cuszp/cuszp_kv.h"
#include "module.h"

namespace kvbench {

inline cuszp_kv_call kv_call(uintptr_t planes, uint32_t plane_count, uintptr_t moves, uint32_t move_count,
                             uintptr_t slots, uint32_t slot_count, uintptr_t page_numbers, uintptr_t slab,
                             uint64_t page_bytes, uint32_t dtype) {
  return {reinterpret_cast<const cuszp_kv_plane*>(planes),
          reinterpret_cast<const cuszp_kv_move*>(moves),
          reinterpret_cast<const cuszp_kv_slot*>(slots),
          reinterpret_cast<const uint32_t*>(page_numbers),
          reinterpret_cast<void*>(slab),
          page_bytes,
          plane_count,
          move_count,
          slot_count,
          dtype};
}

// Adds KV_LAYOUTS, KV_FORMS, KV_DTYPES, KV_ALIGNMENT and KV_FIELDS: structure -> (bytes, {member: (offset, bytes)}).
inline void add_kv_constants(py::module_& module) {
#define KVBENCH_FIELD(type, member) fields[#member] = py::make_tuple(offsetof(type, member), sizeof(type::member))
  py::dict structures, fields;
  KVBENCH_FIELD(cuszp_kv_plane, values);
  KVBENCH_FIELD(cuszp_kv_plane, block_stride);
  KVBENCH_FIELD(cuszp_kv_plane, token_stride);
  KVBENCH_FIELD(cuszp_kv_plane, head_stride);
  KVBENCH_FIELD(cuszp_kv_plane, means);
  KVBENCH_FIELD(cuszp_kv_plane, tokens);
  KVBENCH_FIELD(cuszp_kv_plane, heads);
  KVBENCH_FIELD(cuszp_kv_plane, head_size);
  KVBENCH_FIELD(cuszp_kv_plane, form);
  KVBENCH_FIELD(cuszp_kv_plane, layout);
  KVBENCH_FIELD(cuszp_kv_plane, error_bound);
  KVBENCH_FIELD(cuszp_kv_plane, limit);
  KVBENCH_FIELD(cuszp_kv_plane, reserved);
  structures["plane"] = py::make_tuple(sizeof(cuszp_kv_plane), fields);
  fields = py::dict();
  KVBENCH_FIELD(cuszp_kv_move, block);
  KVBENCH_FIELD(cuszp_kv_move, slot);
  KVBENCH_FIELD(cuszp_kv_move, keep_first);
  structures["move"] = py::make_tuple(sizeof(cuszp_kv_move), fields);
  fields = py::dict();
  KVBENCH_FIELD(cuszp_kv_slot, first_page);
  KVBENCH_FIELD(cuszp_kv_slot, page_count);
  structures["slot"] = py::make_tuple(sizeof(cuszp_kv_slot), fields);
  fields = py::dict();
  KVBENCH_FIELD(cuszp_kv_stream, offset);
  KVBENCH_FIELD(cuszp_kv_stream, stored_bytes);
  KVBENCH_FIELD(cuszp_kv_stream, checksum);
  KVBENCH_FIELD(cuszp_kv_stream, status);
  KVBENCH_FIELD(cuszp_kv_stream, stored_raw);
  structures["stream"] = py::make_tuple(sizeof(cuszp_kv_stream), fields);
#undef KVBENCH_FIELD
  module.attr("KV_FIELDS") = structures;
  py::dict forms, layouts, dtypes;
  forms["fixed"] = static_cast<int>(CUSZP_KV_FORM_FIXED);
  forms["plain"] = static_cast<int>(CUSZP_KV_FORM_PLAIN);
  forms["outlier"] = static_cast<int>(CUSZP_KV_FORM_OUTLIER);
  forms["raw"] = static_cast<int>(CUSZP_KV_FORM_RAW);
  layouts["thd"] = static_cast<int>(CUSZP_KV_LAYOUT_THD);
  layouts["hdt"] = static_cast<int>(CUSZP_KV_LAYOUT_HDT);
  dtypes["float32"] = static_cast<int>(CUSZP_KV_F32);
  dtypes["bfloat16"] = static_cast<int>(CUSZP_KV_BF16);
  dtypes["float16"] = static_cast<int>(CUSZP_KV_F16);
  dtypes["uint8"] = static_cast<int>(CUSZP_KV_U8);
  module.attr("KV_FORMS") = forms;
  module.attr("KV_LAYOUTS") = layouts;
  module.attr("KV_DTYPES") = dtypes;
  module.attr("KV_ALIGNMENT") = static_cast<int>(CUSZP_KV_ALIGNMENT);
}

}  // namespace kvbench

#endif
