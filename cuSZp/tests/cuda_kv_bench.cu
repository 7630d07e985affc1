// Times the KV-block calls beside the bare link and beside raw copies.
//
// cuda_kv_bench: 2048 scattered blocks of 16 tokens x 1024 channels in bf16 (a key-value cache as in cache_like, but
// with every value drawn), in batches of 32 to 2048; the bound is a fraction of the range of all of them. Slots of 9
// pages of 4096 bytes, scattered; tables in device memory. us and GB/s of the elements: of a graph node, and on the
// clock of the host with the launch and the wait. `bare` moves as many bytes as were stored with nothing else done, 16
// a thread.
#include <algorithm>
#include <chrono>
#include <functional>

#include "cuda_kv_cases.h"

using namespace cuszp_test;

namespace {

constexpr size_t kBlocks = 2048, kElements = 16384, kBytes = 2 * kElements, kPage = 4096, kSlotPages = 9;

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

using Enqueue = std::function<void(size_t node, cudaStream_t stream)>;

// Microseconds a node of a graph; `before` is enqueued once in front of all nodes.
double time_graph(size_t nodes, const std::function<void(cudaStream_t)>& before, const Enqueue& enqueue) {
  cudaStream_t stream;
  CUDA_OK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  cudaGraph_t graph;
  cudaGraphExec_t replay;
  CUDA_OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
  for (size_t node = 0; node < nodes; ++node) enqueue(node, stream);
  CUDA_OK(cudaStreamEndCapture(stream, &graph));
  CUDA_OK(cudaGraphInstantiate(&replay, graph, 0));
  cudaEvent_t begin, end;
  CUDA_OK(cudaEventCreate(&begin));
  CUDA_OK(cudaEventCreate(&end));
  std::vector<double> times;
  for (int launch = 0; launch < 7; ++launch) {
    before(stream);
    CUDA_OK(cudaEventRecord(begin, stream));
    CUDA_OK(cudaGraphLaunch(replay, stream));
    CUDA_OK(cudaEventRecord(end, stream));
    CUDA_OK(cudaStreamSynchronize(stream));
    float ms = 0;
    CUDA_OK(cudaEventElapsedTime(&ms, begin, end));
    if (launch >= 2) times.push_back(1e3 * ms / nodes);
  }
  CUDA_OK(cudaGraphExecDestroy(replay));
  CUDA_OK(cudaGraphDestroy(graph));
  CUDA_OK(cudaStreamDestroy(stream));
  return median(times);
}

// Microseconds of the host for one call and the wait for it.
double time_wall(size_t nodes, const std::function<void(cudaStream_t)>& before, const Enqueue& enqueue) {
  cudaStream_t stream;
  CUDA_OK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  std::vector<double> times;
  for (int i = 0; i < 23; ++i) {
    before(stream);
    CUDA_OK(cudaStreamSynchronize(stream));
    const auto begin = std::chrono::steady_clock::now();
    enqueue(i % nodes, stream);
    CUDA_OK(cudaStreamSynchronize(stream));
    const auto end = std::chrono::steady_clock::now();
    if (i > 2) times.push_back(std::chrono::duration<double, std::micro>(end - begin).count());
  }
  CUDA_OK(cudaStreamDestroy(stream));
  return median(times);
}

struct Times {
  double graph, wall;
};

Times time_both(size_t nodes, const std::function<void(cudaStream_t)>& before, const Enqueue& enqueue) {
  return {time_graph(nodes, before, enqueue), time_wall(nodes, before, enqueue)};
}

__global__ void copy_chunks(uint4* to, const uint4* from, size_t count) {
  const size_t step = size_t(gridDim.x) * blockDim.x;
  size_t i = size_t(blockIdx.x) * blockDim.x + threadIdx.x;
  for (; i + 3 * step < count; i += 4 * step) {
    uint4 chunks[4];
#pragma unroll
    for (int k = 0; k < 4; ++k) chunks[k] = from[i + k * step];
#pragma unroll
    for (int k = 0; k < 4; ++k) to[i + k * step] = chunks[k];
  }
  for (; i < count; i += step) to[i] = from[i];
}

// One thread block copies a 32-KiB block at a time, from or to its place in the cache.
__global__ void gather_blocks(uint8_t* packed, uint8_t* cache, const cuszp_kv_move* moves, size_t count, bool out) {
  for (size_t b = blockIdx.x; b < count; b += gridDim.x) {
    auto* block = reinterpret_cast<uint4*>(cache + moves[b].block * kBytes);
    auto* place = reinterpret_cast<uint4*>(packed + b * kBytes);
    for (size_t i = threadIdx.x; i < kBytes / 16; i += blockDim.x) (out ? place : block)[i] = (out ? block : place)[i];
  }
}

std::vector<float> drawn_cache() {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::uniform_real_distribution<float> uniform;
  std::vector<float> scale(1024, 1.0f), values(kBlocks * kElements);
  for (float& s : scale) {
    if (uniform(random) < 0.02f) s = 10.0f + 10.0f * uniform(random);
  }
  for (size_t i = 0; i < values.size(); ++i) values[i] = normal(random) * scale[i % 1024];
  return values;
}

struct Bench {
  std::vector<float> values = drawn_cache();
  float range;
  OnDevice<uint8_t> cache, back;
  OnDevice<float> means;
  OnDevice<cuszp_kv_move> moves;
  OnDevice<cuszp_kv_slot> slots;
  OnDevice<uint32_t> numbers;
  OnDevice<cuszp_kv_plane> plane_in, plane_out;
  DeviceBytes cursors, streams, statuses, device_slab, staging;
  uint8_t *host_slab, *host_copy;

  static std::vector<uint32_t> shuffled(size_t count) {
    std::mt19937 random(5);
    std::vector<uint32_t> out(count);
    for (size_t i = 0; i < count; ++i) out[i] = static_cast<uint32_t>(i);
    std::shuffle(out.begin(), out.end(), random);
    return out;
  }
  static std::vector<cuszp_kv_move> make_moves() {
    std::vector<cuszp_kv_move> out;
    for (uint32_t block : shuffled(kBlocks)) out.push_back({block, static_cast<uint32_t>(out.size()), 0});
    return out;
  }
  static std::vector<cuszp_kv_slot> make_slots() {
    std::vector<cuszp_kv_slot> out;
    for (uint32_t i = 0; i < kBlocks; ++i) out.push_back({uint32_t(i * kSlotPages), kSlotPages});
    return out;
  }

  Bench()
      : cache(stored(values, CUSZP_BF16)),
        back(std::vector<uint8_t>(kBlocks * kBytes)),
        means(std::vector<float>(1024, 0.25f)),
        moves(make_moves()),
        slots(make_slots()),
        numbers(shuffled(kBlocks * kSlotPages)),
        plane_in(std::vector<cuszp_kv_plane>(1)),
        plane_out(std::vector<cuszp_kv_plane>(1)),
        cursors(4 * kBlocks * 8),
        streams(4 * kBlocks * sizeof(cuszp_kv_stream)),
        statuses(kBlocks * 4),
        device_slab(kBlocks * kSlotPages * kPage),
        staging(kBlocks * kBytes) {
    const auto ends = std::minmax_element(values.begin(), values.end());
    range = *ends.second - *ends.first;
    CUDA_OK(cudaHostAlloc(&host_slab, device_slab.size(), cudaHostAllocMapped));
    CUDA_OK(cudaHostAlloc(&host_copy, kBlocks * kBytes, cudaHostAllocMapped));
  }

  void describe(uint32_t form, uint32_t layout, bool centred, float fraction, bool limited) {
    cuszp_kv_plane plane{};
    plane.values = cache.get();
    plane.block_stride = kElements;
    plane.token_stride = 1024;
    plane.head_stride = 128;
    plane.tokens = 16;
    plane.heads = 8;
    plane.head_size = 128;
    plane.form = form;
    plane.layout = layout;
    plane.means = centred ? means.get() : nullptr;
    plane.error_bound = fraction * range;
    plane.limit = limited ? 1.01f * plane.error_bound : 0.0f;
    plane_in.upload(&plane, sizeof plane);
    plane.values = back.get();
    plane_out.upload(&plane, sizeof plane);
  }

  cuszp_kv_call call(const OnDevice<cuszp_kv_plane>& plane, size_t first, size_t count, bool host) const {
    return {plane.get(),
            moves.get() + first,
            slots.get(),
            numbers.get(),
            host ? host_slab : device_slab.data(),
            kPage,
            1,
            static_cast<uint32_t>(count),
            kBlocks,
            CUSZP_KV_BF16};
  }

  // Batches of `count`; a graph has as many nodes as there are batches, four at least.
  void run(const char* name, size_t count, float fraction, bool host, uint32_t blocks_out, uint32_t blocks_in,
           bool checksum) {
    const size_t sets = kBlocks / count, nodes = std::min<size_t>(std::max<size_t>(sets, 4), 32);
    const auto zero = [&](cudaStream_t s) { CUDA_OK(cudaMemsetAsync(cursors.data(), 0, cursors.size(), s)); };
    const auto nothing = [](cudaStream_t) {};
    const Times out = time_both(nodes, zero, [&](size_t node, cudaStream_t stream) {
      const size_t first = node % sets * count;
      const auto c = call(plane_in, first, count, host);
      cuszp_cuda_kv_store(&c, cursors.as<uint64_t>(node / sets * kBlocks * 8), checksum,
                          host ? CUSZP_CUDA_PAGES_ON_HOST : CUSZP_CUDA_PAGES_ON_DEVICE, kElements, blocks_out,
                          streams.as<cuszp_kv_stream>(first * sizeof(cuszp_kv_stream)), stream);
    });
    const Times in = time_both(nodes, nothing, [&](size_t node, cudaStream_t stream) {
      const size_t first = node % sets * count;
      const auto c = call(plane_out, first, count, host);
      cuszp_cuda_kv_load(&c, streams.as<cuszp_kv_stream>(first * sizeof(cuszp_kv_stream)), checksum, kElements,
                         blocks_in, statuses.as<uint32_t>(first * 4), stream);
    });
    std::vector<cuszp_kv_stream> table(count);
    std::vector<uint32_t> status(count);
    CUDA_OK(cudaMemcpy(table.data(), streams.data(), count * sizeof table[0], cudaMemcpyDeviceToHost));
    CUDA_OK(cudaMemcpy(status.data(), statuses.data(), count * 4, cudaMemcpyDeviceToHost));
    size_t stored_bytes = 0, bad = 0;
    for (size_t i = 0; i < count; ++i) {
      stored_bytes += (table[i].stored_bytes + 15) / 16 * 16;
      bad += table[i].status != 0 || status[i] != 0;
    }
    const double raw = double(kBytes) * count;
    std::printf("%4zu %-22s REL %-5g %-6s ratio %5.2f | out %3u: %7.1f us %5.0f GB/s, wall %7.1f us %5.0f GB/s", count,
                name, fraction, host ? "host" : "device", raw / stored_bytes, blocks_out, out.graph,
                raw / out.graph * 1e-3, out.wall, raw / out.wall * 1e-3);
    if (host) bare(stored_bytes, sets, true, out);
    std::printf(" | in %3u: %7.1f us %5.0f GB/s, wall %7.1f us %5.0f GB/s", blocks_in, in.graph, raw / in.graph * 1e-3,
                in.wall, raw / in.wall * 1e-3);
    if (host) bare(stored_bytes, sets, false, in);
    std::printf("%s\n", bad ? " BAD STATUS" : "");
    std::fflush(stdout);
  }

  // The link's share: what was moved a second, and the time of the same bytes bare over the time it took.
  void bare(size_t bytes, size_t sets, bool out, const Times& took) {
    const size_t batch = kBlocks / sets * kBytes;
    const Times link = time_both(
        std::min<size_t>(std::max<size_t>(sets, 4), 32), [](cudaStream_t) {},
        [&](size_t node, cudaStream_t stream) {
          auto* host = reinterpret_cast<uint4*>(host_copy + node % sets * batch);
          auto* device = reinterpret_cast<uint4*>(staging.data() + node % sets * batch);
          const int grid = std::min<int>(out ? 64 : 128, int(bytes / 16 / 512) + 1);
          copy_chunks<<<grid, 512, 0, stream>>>(out ? host : device, out ? device : host, bytes / 16);
        });
    std::printf(", link %4.1f of bare %4.1f GB/s: %.3f, wall %.3f", bytes / took.graph * 1e-3,
                bytes / link.graph * 1e-3, link.graph / took.graph, link.wall / took.wall);
  }

  void raw(size_t count) {
    const double bytes = double(kBytes) * count;
    const auto nothing = [](cudaStream_t) {};
    const size_t sets = kBlocks / count;
    auto copy = [&](bool out) {
      return time_wall(sets, nothing, [&, out](size_t node, cudaStream_t stream) {
        uint8_t *device = staging.data() + node * count * kBytes, *host = host_copy + node * count * kBytes;
        const int grid = static_cast<int>(std::min<size_t>(count, 264));
        if (!out) CUDA_OK(cudaMemcpyAsync(device, host, count * kBytes, cudaMemcpyHostToDevice, stream));
        gather_blocks<<<grid, 512, 0, stream>>>(device, out ? cache.get() : back.get(), moves.get() + node * count,
                                                count, out);
        if (out) CUDA_OK(cudaMemcpyAsync(host, device, count * kBytes, cudaMemcpyDeviceToHost, stream));
      });
    };
    const double out = copy(true), in = copy(false);
    std::printf("%4zu raw: gather and one copy, wall: out %7.1f us %4.1f GB/s | in %7.1f us %4.1f GB/s\n", count, out,
                bytes / out * 1e-3, in, bytes / in * 1e-3);
  }
};

}  // namespace

int main() {
  if (const char* problem = cuszp_cuda_device_problem()) {
    std::printf("%s\n", problem);
    return 77;
  }
  cudaDeviceProp device;
  CUDA_OK(cudaGetDeviceProperties(&device, 0));
  Bench bench;
  std::printf("%s, %zu blocks of 32 KiB, range %.1f\n", device.name, kBlocks, bench.range);
  struct Mode {
    const char* name;
    uint32_t form, layout;
    bool centred, limited, checksum;
  };
  const Mode plain{"plain thd", CUSZP_KV_FORM_PLAIN, 0, false, false, false};
  const Mode centred{"outlier hdt center", CUSZP_KV_FORM_OUTLIER, 1, true, false, false};
  const auto run = [&](const Mode& m, size_t count, float fraction, bool host, uint32_t out, uint32_t in) {
    bench.describe(m.form, m.layout, m.centred, fraction, m.limited);
    bench.run(m.name, count, fraction, host, out, in, m.checksum);
  };
  for (size_t count : {32, 128, 512, 2048}) bench.raw(count);
  for (const Mode& m : {plain, centred}) {
    for (float fraction : {1e-2f, 1e-3f}) {
      for (size_t count : {32, 128, 512, 2048}) run(m, count, fraction, true, 0, 0);
      run(m, 2048, fraction, true, 16, 64);
      run(m, 2048, fraction, true, 32, 96);
      run(m, 2048, fraction, true, 64, 128);
      for (size_t count : {32, 128, 512, 2048}) run(m, count, fraction, false, 0, 0);
    }
  }
  const Mode others[] = {{"fixed thd", CUSZP_KV_FORM_FIXED, 0, false, false, false},
                         {"plain hdt", CUSZP_KV_FORM_PLAIN, 1, false, false, false},
                         {"plain thd center", CUSZP_KV_FORM_PLAIN, 0, true, false, false},
                         {"plain thd limit", CUSZP_KV_FORM_PLAIN, 0, false, true, false},
                         {"plain thd checksum", CUSZP_KV_FORM_PLAIN, 0, false, false, true},
                         {"raw", CUSZP_KV_FORM_RAW, 0, false, false, false}};
  for (const Mode& m : others) {
    run(m, 2048, 1e-2f, true, 64, 128);
    run(m, 2048, 1e-2f, false, 0, 0);
  }
  return 0;
}
