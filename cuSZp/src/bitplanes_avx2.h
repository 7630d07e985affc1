// The functions of bitplanes.h for AVX2: a move-mask makes a plane, a broadcast and a compare take one apart.
// Unnamed namespace as in layout.h.
#ifndef CUSZP_SRC_BITPLANES_AVX2_H
#define CUSZP_SRC_BITPLANES_AVX2_H

#include <immintrin.h>

#include <cstdint>
#include <cstring>

namespace cuszp {
namespace {

constexpr unsigned kPlanesReach = 32 * 4;

inline uint32_t little_endian(uint32_t word) {
  return word;
}

inline __m256i load(const uint32_t* from) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
}
inline void store(uint32_t* to, __m256i value) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), value);
}

// Writes the first `planes` planes of word[0..31], rounded up to 8 of them.
inline void write_planes(const uint32_t word[32], unsigned planes, unsigned char* out) {
  const __m256i byte_mask = _mm256_set1_epi32(0xff);
  const __m256i row_order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  const __m256i reverse_eights =
      _mm256_broadcastsi128_si256(_mm_setr_epi8(7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8));
  for (unsigned first = 0; first < planes; first += 8) {
    __m256i quarter[4];
    for (int i = 0; i < 4; ++i) {
      quarter[i] = _mm256_and_si256(_mm256_srli_epi32(load(word + 8 * i), static_cast<int>(first)), byte_mask);
    }
    const __m256i packed =
        _mm256_packus_epi16(_mm256_packus_epi32(quarter[0], quarter[1]), _mm256_packus_epi32(quarter[2], quarter[3]));
    __m256i bytes = _mm256_shuffle_epi8(_mm256_permutevar8x32_epi32(packed, row_order), reverse_eights);
    uint32_t plane[8];
    for (int k = 7; k >= 0; --k) {
      plane[k] = static_cast<uint32_t>(_mm256_movemask_epi8(bytes));
      bytes = _mm256_add_epi8(bytes, bytes);
    }
    std::memcpy(out + 4 * first, plane, sizeof plane);
  }
}

// Byte i holds bits [0, 8) of element i, bit k from in[4 k ...].
inline __m256i read_eight_planes(const unsigned char* in) {
  const __m256i spread =
      _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3);
  const __m256i bit = _mm256_set1_epi64x(0x0102040810204080);
  __m256i bytes = _mm256_setzero_si256();
  for (int k = 7; k >= 0; --k) {
    int plane;
    std::memcpy(&plane, in + 4 * k, sizeof plane);
    const __m256i there = _mm256_and_si256(_mm256_shuffle_epi8(_mm256_set1_epi32(plane), spread), bit);
    bytes = _mm256_sub_epi8(_mm256_add_epi8(bytes, bytes), _mm256_cmpeq_epi8(there, bit));
  }
  return bytes;
}

// The words whose first `planes` planes, at least one, are these; their other bits are 0.
inline void read_planes(const unsigned char* in, unsigned planes, uint32_t word[32]) {
  const __m256i kept = _mm256_set1_epi32(static_cast<int>(planes < 32 ? (1u << planes) - 1 : 0xffffffffu));
  __m256i sum[4] = {_mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256()};
  for (unsigned first = 0; first < planes; first += 8) {
    unsigned char bytes[32];
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(bytes), read_eight_planes(in + 4 * first));
    for (int i = 0; i < 4; ++i) {
      const __m256i wide = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(bytes + 8 * i)));
      sum[i] = _mm256_or_si256(sum[i], _mm256_slli_epi32(wide, static_cast<int>(first)));
    }
  }
  for (int i = 0; i < 4; ++i) store(word + 8 * i, _mm256_and_si256(sum[i], kept));
}

// value[i] becomes the sum of value[0..i], modulo 2^32.
inline void sum_up(uint32_t value[32]) {
  const __m256i last_of_low = _mm256_setr_epi32(7, 7, 7, 7, 3, 3, 3, 3);
  const __m256i last = _mm256_set1_epi32(7);
  __m256i carry = _mm256_setzero_si256();
  for (int i = 0; i < 4; ++i) {
    __m256i part = load(value + 8 * i);
    part = _mm256_add_epi32(part, _mm256_slli_si256(part, 4));
    part = _mm256_add_epi32(part, _mm256_slli_si256(part, 8));
    const __m256i low = _mm256_permutevar8x32_epi32(part, last_of_low);
    part = _mm256_add_epi32(part, _mm256_blend_epi32(_mm256_setzero_si256(), low, 0xf0));
    part = _mm256_add_epi32(part, carry);
    carry = _mm256_permutevar8x32_epi32(part, last);
    store(value + 8 * i, part);
  }
}

}  // namespace
}  // namespace cuszp

#endif
