// Times the CUDA codec: cache-like data, bound 1e-3 of the range, cold inputs, CUDA graphs, beside the copy floor.
//
// cuda_bench [MODE...]: modes fixed, plain, outlier; default plain. Then batches of cache blocks, into device memory
// and into mapped host memory. One line a size, type and direction; times are medians of graph launches, a launch runs
// one call on each of several buffer sets larger than the L2 cache together.
#include <algorithm>
#include <chrono>

#include "cuda_support.h"

using namespace cuszp_test;

namespace {

constexpr int kLaunches = 9;

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// Microseconds a node, median over launches of a graph that `record` fills with `nodes` nodes.
template <typename Record>
double time_graph(int nodes, Record&& record) {
  cudaStream_t stream;
  CUDA_OK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  cudaGraph_t graph;
  cudaGraphExec_t replay;
  CUDA_OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
  for (int node = 0; node < nodes; ++node) record(node, stream);
  CUDA_OK(cudaStreamEndCapture(stream, &graph));
  CUDA_OK(cudaGraphInstantiate(&replay, graph, 0));
  cudaEvent_t begin, end;
  CUDA_OK(cudaEventCreate(&begin));
  CUDA_OK(cudaEventCreate(&end));
  std::vector<double> times;
  for (int launch = 0; launch < kLaunches + 2; ++launch) {
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

__global__ void empty_kernel() {}

// What a kernel that does nothing costs in a graph, us.
double launch_floor() {
  return time_graph(256, [](int, cudaStream_t stream) { empty_kernel<<<128, 192, 0, stream>>>(); });
}

// Bytes read plus bytes written a second, in GB/s.
double copy_bandwidth() {
  const size_t bytes = size_t(1) << 28;
  DeviceBytes from(bytes), to(bytes);
  from.fill(1);
  const double us = time_graph(10, [&](int, cudaStream_t stream) {
    CUDA_OK(cudaMemcpyAsync(to.data(), from.data(), bytes, cudaMemcpyDeviceToDevice, stream));
  });
  return 2.0 * bytes / us * 1e-3;
}

// Host time from the call until the size is seen in mapped host memory, in us.
double time_call(const uint8_t* input, cuszp_dtype dtype, size_t n, float bound, cuszp_mode mode, uint8_t* packed,
                 size_t capacity, DeviceBytes& workspace) {
  volatile uint64_t* size = nullptr;
  CUDA_OK(cudaHostAlloc(const_cast<uint64_t**>(&size), 64, cudaHostAllocMapped));
  cudaStream_t stream;
  CUDA_OK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  std::vector<double> times;
  for (int i = 0; i < 31; ++i) {
    *size = ~uint64_t(0);
    CUDA_OK(cudaStreamSynchronize(stream));
    const auto begin = std::chrono::steady_clock::now();
    cuszp_cuda_compress(input, dtype, n, bound, nullptr, mode, packed, capacity, const_cast<uint64_t*>(size),
                        reinterpret_cast<uint32_t*>(const_cast<uint64_t*>(size + 1)), workspace.data(),
                        workspace.size(), stream);
    while (*size == ~uint64_t(0)) {
    }
    const auto end = std::chrono::steady_clock::now();
    if (i > 0) times.push_back(std::chrono::duration<double, std::micro>(end - begin).count());
  }
  CUDA_OK(cudaStreamSynchronize(stream));
  CUDA_OK(cudaStreamDestroy(stream));
  CUDA_OK(cudaFreeHost(const_cast<uint64_t*>(size)));
  return median(times);
}

void bench(size_t n, cuszp_dtype dtype, cuszp_mode mode, double copy_gbps, const std::vector<float>& source) {
  const size_t bytes = n * element_bytes(dtype);
  const std::vector<float> values(source.begin(), source.begin() + n);
  const auto range = std::minmax_element(values.begin(), values.end());
  const float bound = 1e-3f * (*range.second - *range.first);
  const auto data = stored(values, dtype);
  const int sets = static_cast<int>(std::clamp<size_t>((size_t(256) << 20) / bytes, 2, 256));
  const int nodes = std::max(sets, 8);
  const size_t capacity = bytes + bytes / 4 + 4096;
  DeviceBytes inputs(bytes * sets), outputs(bytes * sets), packed(capacity * sets), results(16);
  DeviceBytes workspace(cuszp_cuda_workspace_bytes(n));
  workspace.fill(0);
  for (int s = 0; s < sets; ++s) inputs.upload(data.data(), bytes, s * bytes);
  CUDA_OK(cudaDeviceSynchronize());
  const double compress_us = time_graph(nodes, [&](int node, cudaStream_t stream) {
    const size_t s = node % sets;
    cuszp_cuda_compress(inputs.data() + s * bytes, dtype, n, bound, nullptr, mode, packed.data() + s * capacity,
                        capacity, results.as<uint64_t>(), results.as<uint32_t>(8), workspace.data(), workspace.size(),
                        stream);
  });
  uint64_t stream_bytes = 0;
  CUDA_OK(cudaMemcpy(&stream_bytes, results.data(), 8, cudaMemcpyDeviceToHost));
  const double decompress_us = time_graph(nodes, [&](int node, cudaStream_t stream) {
    const size_t s = node % sets;
    cuszp_cuda_decompress(packed.data() + s * capacity, stream_bytes, nullptr, n, bound, nullptr, mode, dtype,
                          outputs.data() + s * bytes, results.as<uint32_t>(12), workspace.data(), workspace.size(),
                          stream);
  });
  const double call_us = time_call(inputs.data(), dtype, n, bound, mode, packed.data(), capacity, workspace);
  uint32_t status[2];
  CUDA_OK(cudaMemcpy(status, results.data() + 8, 8, cudaMemcpyDeviceToHost));
  const double floor_us = (bytes + stream_bytes) / copy_gbps * 1e-3;
  std::printf(
      "2^%-4.1f %-4s %-7s ratio %5.2f floor %7.2f us | C %7.2f us %6.0f GB/s %5.1f %% | D %7.2f us %6.0f GB/s %5.1f %% "
      "| call %7.2f us%s\n",
      std::log2(double(n)), dtype_name(dtype), mode_name(mode), double(bytes) / stream_bytes, floor_us, compress_us,
      bytes / compress_us * 1e-3, 100 * floor_us / compress_us, decompress_us, bytes / decompress_us * 1e-3,
      100 * floor_us / decompress_us, call_us, status[0] || status[1] ? " BAD STATUS" : "");
  std::fflush(stdout);
}

// Blocks of 16 tokens x 1024 channels, bf16, each a stream of its own; several sets of them, larger than the L2 cache.
struct BlockSets {
  static constexpr size_t kElements = 16384, kBytes = 2 * kElements;
  size_t count, sets;
  float bound;
  DeviceBytes input, output, items_in, items_out, results, statuses;
  uint8_t* slots = nullptr;

  BlockSets(size_t blocks, size_t set_count, bool on_host, float fraction)
      : count(blocks),
        sets(set_count),
        input(kBytes * count * sets),
        output(kBytes * count * sets),
        items_in(count * sets * sizeof(cuszp_cuda_batch_item)),
        items_out(items_in.size()),
        results(count * sizeof(cuszp_cuda_batch_result)),
        statuses(count * 4),
        on_host_(on_host) {
    const auto values = cache_like(kElements * 64, 3);
    const auto range = std::minmax_element(values.begin(), values.end());
    bound = fraction * (*range.second - *range.first);
    const auto data = stored(values, CUSZP_BF16);
    if (on_host_)
      CUDA_OK(cudaHostAlloc(&slots, kBytes * count * sets, cudaHostAllocMapped));
    else
      CUDA_OK(cudaMalloc(&slots, kBytes * count * sets));
    std::vector<cuszp_cuda_batch_item> in, out;
    for (size_t i = 0; i < count * sets; ++i) {
      input.upload(&data[i % 64 * kBytes], kBytes, i * kBytes);
      auto* pages = reinterpret_cast<void* const*>(slots + i * kBytes);
      in.push_back({input.data() + i * kBytes, kElements, pages, kBytes, nullptr, nullptr});
      out.push_back(in.back());
      out.back().values = output.data() + i * kBytes;
    }
    items_in.upload(in.data(), items_in.size());
    items_out.upload(out.data(), items_out.size());
    CUDA_OK(cudaDeviceSynchronize());
  }
  ~BlockSets() { on_host_ ? cudaFreeHost(slots) : cudaFree(slots); }

  void compress(size_t set, uint32_t most_blocks, cudaStream_t stream) {
    cuszp_cuda_compress_batch(items_in.as<cuszp_cuda_batch_item>() + set * count, count, CUSZP_BF16, bound,
                              CUSZP_MODE_PLAIN, 0, on_host_ ? CUSZP_CUDA_PAGES_ON_HOST : CUSZP_CUDA_PAGES_ON_DEVICE,
                              results.as<cuszp_cuda_batch_result>(), most_blocks, stream);
  }
  void decompress(size_t set, uint32_t most_blocks, cudaStream_t stream) {
    cuszp_cuda_decompress_batch(items_out.as<cuszp_cuda_batch_item>() + set * count,
                                results.as<cuszp_cuda_batch_result>(), count, CUSZP_BF16, bound, CUSZP_MODE_PLAIN, 0,
                                statuses.as<uint32_t>(), most_blocks, stream);
  }

 private:
  bool on_host_;
};

// most_blocks: thread blocks to use; 0 for all that fit.
void bench_blocks(size_t count, bool on_host, float fraction, uint32_t most_blocks) {
  BlockSets blocks(count, on_host ? 2 : std::max<size_t>(2, 8192 / count), on_host, fraction);
  const int nodes = std::max<int>(static_cast<int>(blocks.sets), 4);
  const double c = time_graph(
      nodes, [&](int node, cudaStream_t stream) { blocks.compress(node % blocks.sets, most_blocks, stream); });
  const double d = time_graph(
      nodes, [&](int node, cudaStream_t stream) { blocks.decompress(node % blocks.sets, most_blocks, stream); });
  cuszp_cuda_batch_result first;
  CUDA_OK(cudaMemcpy(&first, blocks.results.data(), sizeof first, cudaMemcpyDeviceToHost));
  const auto status = blocks.statuses.download();
  const bool good = std::all_of(status.begin(), status.end(), [](uint8_t b) { return b == 0; });
  std::printf(
      "%4zu blocks of 32 KiB bf16, %-11s slots, REL %-5g, ratio of the first %.2f, %3u thread blocks at most: "
      "compress %6.1f us %5.0f GB/s, decompress %6.1f us %5.0f GB/s%s\n",
      count, on_host ? "mapped host" : "device", fraction, double(BlockSets::kBytes) / first.stored_bytes, most_blocks,
      c, BlockSets::kBytes * count / c * 1e-3, d, BlockSets::kBytes * count / d * 1e-3, good ? "" : " BAD STATUS");
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  if (const char* problem = cuszp_cuda_device_problem()) {
    std::printf("%s\n", problem);
    return 77;
  }
  cudaDeviceProp device;
  CUDA_OK(cudaGetDeviceProperties(&device, 0));
  const double copy_gbps = copy_bandwidth();
  std::printf("%s, copy %.0f GB/s (read + write), empty kernel %.2f us\n", device.name, copy_gbps, launch_floor());
  std::vector<cuszp_mode> modes;
  for (int i = 1; i < argc; ++i) {
    for (int mode = 0; mode < 3; ++mode) {
      if (std::string(argv[i]) == mode_name(mode)) modes.push_back(static_cast<cuszp_mode>(mode));
    }
  }
  if (modes.empty()) modes.push_back(CUSZP_MODE_PLAIN);
  const auto source = cache_like(size_t(1) << 26, 1);
  for (cuszp_mode mode : modes) {
    for (cuszp_dtype dtype : {CUSZP_F32, CUSZP_BF16}) {
      for (int log = 18; log <= 26; log += 2) bench(size_t(1) << log, dtype, mode, copy_gbps, source);
    }
  }
  for (size_t count : {32, 128, 512, 2048}) bench_blocks(count, false, 1e-3f, 0);
  for (float fraction : {1e-2f, 1e-3f}) {
    for (size_t count : {32, 128, 512}) bench_blocks(count, true, fraction, 0);
    for (uint32_t most_blocks : {16, 32, 64, 128, 0}) bench_blocks(2048, true, fraction, most_blocks);
  }
  std::printf("copy again %.0f GB/s\n", copy_bandwidth());
  return 0;
}
