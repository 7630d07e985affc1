// What the compiled modules share: the Python exception for a codec status, and the constants of the interface.
#ifndef KVBENCH_EXT_MODULE_H
#define KVBENCH_EXT_MODULE_H

#include <pybind11/pybind11.h>

#include <cstdint>
#include <string>

#include "cuszp/cuszp.h"

namespace kvbench {

namespace py = pybind11;

// Adds the class CodecError(ValueError), whose args are (status code, text), to the module.
inline PyObject* add_codec_error(py::module_& module) {
  const std::string name = py::cast<std::string>(module.attr("__name__")) + ".CodecError";
  PyObject* const type =
      PyErr_NewExceptionWithDoc(name.c_str(), "A codec status other than OK: (code, text).", PyExc_ValueError, nullptr);
  if (type == nullptr) throw py::error_already_set();
  module.attr("CodecError") = py::reinterpret_borrow<py::object>(type);
  return type;
}

// Raises `codec_error` unless the status is OK. Needs the GIL.
inline void check(PyObject* codec_error, cuszp_status status) {
  if (status == CUSZP_OK) return;
  PyErr_SetObject(codec_error, py::make_tuple(static_cast<int>(status), cuszp_status_text(status)).ptr());
  throw py::error_already_set();
}

// Adds the dictionaries MODES and DTYPES, names to the numbers of the C interface, and the texts of a status.
inline void add_constants(py::module_& module) {
  module.def("status_text", [](int status) { return cuszp_status_text(static_cast<cuszp_status>(status)); });
  py::dict modes, dtypes;
  modes["fixed"] = static_cast<int>(CUSZP_MODE_FIXED);
  modes["plain"] = static_cast<int>(CUSZP_MODE_PLAIN);
  modes["outlier"] = static_cast<int>(CUSZP_MODE_OUTLIER);
  dtypes["float32"] = static_cast<int>(CUSZP_F32);
  dtypes["bfloat16"] = static_cast<int>(CUSZP_BF16);
  dtypes["float16"] = static_cast<int>(CUSZP_F16);
  module.attr("MODES") = modes;
  module.attr("DTYPES") = dtypes;
}

}  // namespace kvbench

#endif
