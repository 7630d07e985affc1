// The three element types: how each is widened to float32 and how a float32 is rounded to it.
// Branch-free so that loops over them vectorise; unnamed namespace as in layout.h.
#ifndef CUSZP_SRC_ELEMENT_H
#define CUSZP_SRC_ELEMENT_H

#include <cfloat>
#include <cstdint>
#include <cstring>

namespace cuszp {
namespace {

static_assert(FLT_EVAL_METHOD == 0, "the stream is defined by float32 arithmetic without excess precision");

inline float float_of_bits(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

inline uint32_t bits_of_float(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

// Integers that order as the floats do, -0 just below +0; the way back is the same.
inline int32_t key_of_float(uint32_t bits) {
  const uint32_t negative = 0u - (bits >> 31);
  return static_cast<int32_t>(bits ^ (negative & 0x7fffffffu));
}

inline float float_of_key(int32_t key) {
  return float_of_bits(static_cast<uint32_t>(key_of_float(static_cast<uint32_t>(key))));
}

struct Float32 {
  using Storage = float;
  static inline float widen(Storage value) { return value; }
  static inline Storage narrow(float value) { return value; }
};

struct BFloat16 {
  using Storage = uint16_t;
  static inline float widen(Storage value) { return float_of_bits(static_cast<uint32_t>(value) << 16); }

  // Nearest even; a NaN stays a NaN, made quiet.
  static inline Storage narrow(float value) {
    const uint32_t bits = bits_of_float(value);
    const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    const uint32_t nan = (bits >> 16) | 0x40u;
    return static_cast<Storage>((bits & 0x7fffffffu) > 0x7f800000u ? nan : rounded);
  }
};

struct Float16 {
  using Storage = uint16_t;

  // The exponent is rebiased by 112; a subnormal gets a hidden one that the subtraction takes away again.
  static inline float widen(Storage value) {
    const uint32_t sign = static_cast<uint32_t>(value & 0x8000u) << 16;
    const uint32_t shifted = static_cast<uint32_t>(value & 0x7fffu) << 13;
    const uint32_t exponent = shifted & 0x0f800000u;
    const uint32_t normal = shifted + (exponent == 0x0f800000u ? 224u << 23 : 112u << 23);
    const uint32_t subnormal = bits_of_float(float_of_bits(shifted + (113u << 23)) - 0x1p-14f);
    return float_of_bits(sign | (exponent == 0 ? subnormal : normal));
  }

  // Nearest even; too large becomes infinite, a NaN stays a NaN. Adding 0.5 rounds at a subnormal's last bit.
  static inline Storage narrow(float value) {
    const uint32_t bits = bits_of_float(value);
    const uint32_t sign = (bits >> 16) & 0x8000u;
    const uint32_t magnitude = bits & 0x7fffffffu;
    const uint32_t subnormal = bits_of_float(float_of_bits(magnitude) + 0.5f) - 0x3f000000u;
    const uint32_t normal = (magnitude - (112u << 23) + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
    uint32_t half = magnitude < 0x38800000u ? subnormal : normal;
    half = magnitude >= 0x477ff000u ? 0x7c00u : half;
    half = magnitude > 0x7f800000u ? 0x7e00u : half;
    return static_cast<Storage>(sign | half);
  }
};

}  // namespace
}  // namespace cuszp

#endif
