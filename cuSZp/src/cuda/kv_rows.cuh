// Rows of 32 coded values of a KV block in shared memory, in the plane's layout: read with means subtracted, written
// with means added.
#ifndef CUSZP_CUDA_KV_ROWS_CUH
#define CUSZP_CUDA_KV_ROWS_CUH

#include <cstdint>

#include "decode_rows.cuh"
#include "encode_rows.cuh"
#include "kv_job.cuh"
#include "store_rows.cuh"

namespace cuszp_gpu {

// One element's bits, at a multiple of its size.
template <typename Element>
__device__ __forceinline__ float load_shared_element(uint32_t address) {
  uint32_t bits;
  if (Element::kBytes == 4)
    bits = load_shared_word(address);
  else
    bits = load_shared_unit<uint16_t>(address);
  float values[kElementsPerChunk<Element>];
  widen_chunk<Element>(make_uint4(bits, 0, 0, 0), values);
  return values[0];
}

template <typename Element>
__device__ __forceinline__ void store_shared_element(uint32_t address, float value) {
  float values[kElementsPerChunk<Element>] = {value};
  const uint32_t bits = narrow_chunk<Element>(values).x;
  if (Element::kBytes == 4)
    store_shared(address, bits);
  else
    store_shared(address, static_cast<uint16_t>(bits));
}

// The rows read one after the other; a value comes less its mean, and `raw` and `mean` are those of the last one.

// The 32 means of a row that lies within a token, or null.
__device__ __forceinline__ const float4* row_means(const KvJob& job, uint32_t index, uint32_t channels) {
  if (job.plane.means == nullptr) return nullptr;
  return reinterpret_cast<const float4*>(job.plane.means + index * kBlockElements % channels);
}

// Layout thd; with means only where every row lies within a token.
template <typename Element>
struct RowSource {
  TileRow<Element> row;
  const float4* means;
  float four[4];
  float raw = 0.0f, mean = 0.0f;
  __device__ __forceinline__ RowSource(const Image<Element>& image, uint32_t index, const KvJob& job, uint32_t channels)
      : row(image.address + image.kept_bytes + index * kRowBytes<Element>,
            image.kept_bytes / kRowBytes<Element> + index),
        means(row_means(job, index, channels)) {}
  __device__ __forceinline__ float operator()(uint32_t i) {
    if (i % 4 == 0) {
      const float4 next = means ? __ldg(means + i / 4) : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
      four[0] = next.x, four[1] = next.y, four[2] = next.z, four[3] = next.w;
    }
    raw = row(i);
    mean = four[i % 4];
    return __fsub_rn(raw, mean);
  }
};

// Layout hdt with 16 coded tokens: neighbouring threads read neighbouring words.
template <typename Element>
struct PairSource {
  uint32_t address;
  uint32_t token_bytes;
  float means[2];
  float raw = 0.0f, mean = 0.0f;
  __device__ __forceinline__ PairSource(const Image<Element>& image, uint32_t index, const KvJob& job,
                                        uint32_t channels)
      : address(image.address + image.kept_bytes + index * 2 * Element::kBytes),
        token_bytes(channels * Element::kBytes) {
    const bool second = 2 * index + 1 < channels;
    means[0] = job.plane.means ? __ldg(job.plane.means + 2 * index) : 0.0f;
    means[1] = job.plane.means && second ? __ldg(job.plane.means + 2 * index + 1) : 0.0f;
  }
  __device__ __forceinline__ float operator()(uint32_t i) {
    const uint32_t at = address + i % 16 * token_bytes;
    if (Element::kBytes == 4) {
      raw = __uint_as_float(load_shared_word(at + i / 16 * 4));
    } else {
      float pair[kElementsPerChunk<Element>];
      widen_chunk<Element>(make_uint4(load_shared_word(at), 0, 0, 0), pair);
      raw = pair[i / 16];
    }
    mean = means[i / 16];
    return __fsub_rn(raw, mean);
  }
};

// The place of a row's elements, one after the other, in any layout.
struct RowWalk {
  uint32_t outer, inner;  // channel and token in layout hdt, token and channel in thd
  uint32_t inner_count;
  uint32_t outer_step, inner_step;  // in elements
  bool by_channel;
  uint32_t valid;
  __device__ __forceinline__ RowWalk(const cuszp_kv_plane& plane, const cuszp_kv::Shape& shape, uint32_t row)
      : by_channel(plane.layout == CUSZP_KV_LAYOUT_HDT) {
    inner_count = by_channel ? plane.tokens - shape.kept : shape.channels;
    outer_step = by_channel ? 1 : shape.channels;
    inner_step = by_channel ? shape.channels : 1;
    outer = row * kBlockElements / inner_count;
    inner = row * kBlockElements % inner_count;
    valid = min(what_is_left(shape.n, uint64_t(row) * kBlockElements), uint64_t(kBlockElements));
  }
  __device__ __forceinline__ uint32_t element() const { return outer * outer_step + inner * inner_step; }
  __device__ __forceinline__ uint32_t channel() const { return by_channel ? outer : inner; }
  __device__ __forceinline__ void advance() {
    if (++inner == inner_count) {
      inner = 0;
      ++outer;
    }
  }
};

// Any layout; elements that do not exist are 0.
template <typename Element>
struct WalkSource {
  const Image<Element>& image;
  RowWalk walk;
  const float* all_means;
  float raw = 0.0f, mean = 0.0f;
  __device__ __forceinline__ WalkSource(const Image<Element>& from, const KvJob& job, const cuszp_kv::Shape& shape,
                                        uint32_t index)
      : image(from), walk(job.plane, shape, index), all_means(job.plane.means) {}
  __device__ __forceinline__ float operator()(uint32_t i) {
    raw = mean = 0.0f;
    if (i >= walk.valid) return 0.0f;
    raw = load_shared_element<Element>(image.at(image.kept_bytes + walk.element() * Element::kBytes));
    mean = all_means ? __ldg(all_means + walk.channel()) : 0.0f;
    walk.advance();
    return __fsub_rn(raw, mean);
  }
};

// Whether |raw - decoded| <= limit, over the reals.
__device__ __forceinline__ bool keeps_limit(float raw, float quantum, float error_bound, float mean, float limit) {
  const float decoded = __fadd_rn(2.0f * __fmul_rn(quantum, error_bound), mean);
  return __fsub_ru(raw, decoded) <= limit && __fsub_rd(raw, decoded) >= -limit;
}

// The writers take quantised values and leave elements in the image.

template <typename Element, bool kOneStep>
struct CentredRowWriter {
  RowWriter<Element, true> row;
  const float4* means;
  float four[4];
  __device__ __forceinline__ CentredRowWriter(uint32_t address, uint32_t index, const Scale& scale,
                                              const float4* row_means)
      : row(address, index, scale), means(row_means) {}
  __device__ __forceinline__ void operator()(uint32_t i, float quantum) {
    if (i % 4 == 0) {
      const float4 next = means ? __ldg(means + i / 4) : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
      four[0] = next.x, four[1] = next.y, four[2] = next.z, four[3] = next.w;
    }
    const float scaled = __fmul_rn(quantum, row.factor);
    row.put(i, __fadd_rn(kOneStep ? scaled : 2.0f * scaled, four[i % 4]));
  }
};

template <typename Element, bool kOneStep>
struct PairWriter {
  uint32_t address;
  uint32_t token_bytes;
  float factor;
  float means[2];
  bool there[2];  // the row's channels
  __device__ __forceinline__ PairWriter(const Image<Element>& image, uint32_t index, const KvJob& job,
                                        uint32_t channels, bool row_there, float scale)
      : address(image.address + image.kept_bytes + index * 2 * Element::kBytes),
        token_bytes(channels * Element::kBytes),
        factor(scale) {
    for (uint32_t half = 0; half < 2; ++half) {
      there[half] = row_there && 2 * index + half < channels;
      means[half] = there[half] && job.plane.means ? __ldg(job.plane.means + 2 * index + half) : 0.0f;
    }
  }
  __device__ __forceinline__ void operator()(uint32_t i, float quantum) {
    const float scaled = __fmul_rn(quantum, factor);
    const float value = __fadd_rn(kOneStep ? scaled : 2.0f * scaled, means[i / 16]);
    if (there[i / 16]) {
      store_shared_element<Element>(address + i % 16 * token_bytes + i / 16 * Element::kBytes, value);
    }
  }
};

template <typename Element, bool kOneStep>
struct WalkWriter {
  const Image<Element>& image;
  RowWalk walk;
  const float* all_means;
  float factor;
  __device__ __forceinline__ void operator()(uint32_t i, float quantum) {
    if (i >= walk.valid) return;
    const float scaled = __fmul_rn(quantum, factor);
    const float mean = all_means ? __ldg(all_means + walk.channel()) : 0.0f;
    store_shared_element<Element>(image.at(image.kept_bytes + walk.element() * Element::kBytes),
                                  __fadd_rn(kOneStep ? scaled : 2.0f * scaled, mean));
    walk.advance();
  }
};

}  // namespace cuszp_gpu

#endif  // CUSZP_CUDA_KV_ROWS_CUH
