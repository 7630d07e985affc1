# Decides whether the CUDA half of the library is built and, if so, defines the target cuszp_cuda.
set(CUSZP_CUDA AUTO CACHE STRING "Build the CUDA half: AUTO, ON or OFF")
set_property(CACHE CUSZP_CUDA PROPERTY STRINGS AUTO ON OFF)
if(NOT CUSZP_CUDA MATCHES "^(AUTO|ON|OFF)$")
  message(FATAL_ERROR "CUSZP_CUDA is '${CUSZP_CUDA}': use AUTO, ON or OFF")
endif()

file(GLOB cuda_sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/src/cuda/*.cu)
set(obstacle "")
if(CUSZP_CUDA STREQUAL "OFF")
  set(obstacle "switched off")
elseif(NOT cuda_sources)
  set(obstacle "there are no CUDA sources in cuSZp/src/cuda")
else()
  include(CheckLanguage)
  if(NOT CMAKE_CUDA_COMPILER)
    unset(CMAKE_CUDA_COMPILER CACHE) # check_language remembers a failure for ever
  endif()
  check_language(CUDA)
  if(NOT CMAKE_CUDA_COMPILER)
    set(obstacle "nvcc was not found, neither on PATH nor as CUDACXX")
  endif()
endif()

if(obstacle)
  if(CUSZP_CUDA STREQUAL "ON")
    message(FATAL_ERROR "CUDA was asked for, but ${obstacle}; AUTO or OFF builds without it")
  endif()
  message(STATUS "CUDA: not built, ${obstacle}")
  return()
endif()

# Where there is a GPU, code for it. Elsewhere code for Hopper, and PTX from which the driver makes code for other
# cards from Ampere on when it first loads the library. CUDAARCHS or CMAKE_CUDA_ARCHITECTURES names others, such as
# "80-real;90-real;100-real;120" for a package to be given to many machines.
if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES AND NOT DEFINED ENV{CUDAARCHS})
  find_program(CUSZP_NVIDIA_SMI nvidia-smi)
  set(gpus "")
  if(CUSZP_NVIDIA_SMI)
    execute_process(COMMAND ${CUSZP_NVIDIA_SMI} --list-gpus OUTPUT_VARIABLE gpus ERROR_QUIET)
  endif()
  if(gpus MATCHES "GPU [0-9]+:")
    set(CMAKE_CUDA_ARCHITECTURES native)
  else()
    set(CMAKE_CUDA_ARCHITECTURES 80-virtual 90-real)
  endif()
endif()
enable_language(CUDA)
find_package(CUDAToolkit REQUIRED GLOBAL) # so that a project without CUDA as a language can link the library

add_library(cuszp_cuda STATIC ${cuda_sources})
add_library(cuszp::cuszp_cuda ALIAS cuszp_cuda)
target_include_directories(cuszp_cuda PRIVATE src)
target_link_libraries(cuszp_cuda PUBLIC cuszp CUDA::cudart_static)
target_compile_features(cuszp_cuda PRIVATE cxx_std_17 cuda_std_17)
set_target_properties(cuszp_cuda PROPERTIES POSITION_INDEPENDENT_CODE ON CUDA_RUNTIME_LIBRARY Static
                                            CXX_VISIBILITY_PRESET hidden CUDA_VISIBILITY_PRESET hidden)
message(STATUS "CUDA: built with ${CMAKE_CUDA_COMPILER} for ${CMAKE_CUDA_ARCHITECTURES}")
