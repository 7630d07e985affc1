// Compares the CUDA codec with the host library byte for byte: sizes, types, modes, alignments, graphs, streams.
//
// cuda_check [--tiny | --small | GOLDEN]: GOLDEN is a file of streams by the original library, see check_golden. Ends
// with 0 when all comparisons held, with 77 where no device can be used.
#include <algorithm>

#include "cuda_cases.h"

using namespace cuszp_test;

namespace {

constexpr cuszp_dtype kDtypes[] = {CUSZP_F32, CUSZP_BF16, CUSZP_F16};
constexpr cuszp_mode kModes[] = {CUSZP_MODE_FIXED, CUSZP_MODE_PLAIN, CUSZP_MODE_OUTLIER};

// How much to check: kTiny has one case for every path, for tools that slow everything down.
enum class Extent { kTiny, kSmall, kFull };

// More elements than the kernel for short streams takes on any card.
void check_long_streams(DeviceBytes& workspace, cudaStream_t stream) {
  for (int i = 0; i < 3; ++i) run_case({"cache", 6000001, kDtypes[i], kModes[i], 0.06f, 0, 0}, workspace, stream);
}

void check_sizes_and_alignments(DeviceBytes& workspace, cudaStream_t stream, Extent extent) {
  std::vector<size_t> sizes = {0, 1, 31, 32, 33, 1000, 1023, 1024, 1025, 4095, 4096, 4097, 32767, 32769};
  if (extent == Extent::kTiny) sizes = {33, 70001};
  if (extent == Extent::kFull) sizes.insert(sizes.end(), {131071, 131073, 262144, 524287, 1048577, 2000003});
  for (cuszp_dtype dtype : kDtypes) {
    for (cuszp_mode mode : kModes) {
      for (size_t n : sizes) {
        run_case({"cache", n, dtype, mode, 0.06f, 0, 0}, workspace, stream);
        if (n == 0 || extent == Extent::kTiny) continue;
        for (const char* kind : {"edge", "bits", "sparse"})
          run_case({kind, n, dtype, mode, 0.01f, 0, 0}, workspace, stream);
      }
      run_case({"bits", 9001, dtype, mode, 0.06f, 5, 5}, workspace, stream);
      run_case({"cache", 9001, dtype, mode, 0.06f, 4, 4}, workspace, stream);
      if (extent == Extent::kTiny) continue;
      run_case({"zero", 5000, dtype, mode, 0.01f, 0, 0}, workspace, stream);
      run_case({"constant", 5000, dtype, mode, 0.01f, 0, 0}, workspace, stream);
      run_case({"cache", 40000, dtype, mode, 1e-5f, 0, 0}, workspace, stream);
      run_case({"cache", 40000, dtype, mode, 1e-39f, 0, 0}, workspace, stream);
      run_case({"bits", 40000, dtype, mode, 3e38f, 0, 0}, workspace, stream);
      const size_t unit = extent == Extent::kFull ? 1 : 5;
      for (size_t offset = 1; offset < 17; offset += unit) {
        run_case({"cache", 5001, dtype, mode, 0.06f, offset, 0}, workspace, stream);
        run_case({"cache", 5001, dtype, mode, 0.06f, 0, offset}, workspace, stream);
        run_case({"bits", 9001, dtype, mode, 0.06f, offset, offset}, workspace, stream);
      }
    }
  }
}

// Capacities below the need: the status says so, the size is right, nothing is written past the capacity.
void check_small_capacity(DeviceBytes& workspace, cudaStream_t stream) {
  const Case c{"cache", 50000, CUSZP_F32, CUSZP_MODE_OUTLIER, 0.01f, 0, 0};
  const auto values = stored(make_values(c.kind, c.n, 3), c.dtype);
  const auto host = host_codec(c, values);
  DeviceBytes input(values.size()), packed(host.stream.size() + kGuard), results(16);
  results.fill(0xff);
  input.upload(values.data(), values.size());
  for (size_t capacity : {size_t(0), size_t(1), size_t(1000), size_t(2048), size_t(9001), host.stream.size() - 1}) {
    packed.fill(kPoison);
    CUDA_OK(cudaDeviceSynchronize());
    cuszp_cuda_compress(input.data(), c.dtype, c.n, c.bound, nullptr, c.mode, packed.data(), capacity,
                        results.as<uint64_t>(), results.as<uint32_t>(8), workspace.data(), workspace.size(), stream);
    CUDA_OK(cudaStreamSynchronize(stream));
    const auto result = results.download();
    uint64_t bytes;
    uint32_t status;
    std::memcpy(&bytes, result.data(), 8);
    std::memcpy(&status, result.data() + 8, 4);
    const auto written = packed.download();
    expect(status == CUSZP_OUTPUT_TOO_SMALL && bytes == host.stream.size(),
           "status of capacity " + std::to_string(capacity));
    expect(guard_intact(written, capacity, written.size()), "bytes past capacity " + std::to_string(capacity));
  }
}

// A device bound that is no bound gives a status and leaves the workspace usable.
void check_device_bounds(DeviceBytes& workspace, cudaStream_t stream) {
  const Case c{"cache", 20000, CUSZP_F32, CUSZP_MODE_PLAIN, 0.05f, 0, 0};
  const auto values = stored(make_values(c.kind, c.n, 3), c.dtype);
  const auto host = host_codec(c, values);
  DeviceBytes input(values.size()), packed(host.stream.size()), results(32);
  results.fill(0xff);
  input.upload(values.data(), values.size());
  for (float bound : {0.0f, -1.0f, NAN, INFINITY, c.bound}) {
    results.upload(&bound, 4, 16);
    CUDA_OK(cudaDeviceSynchronize());
    cuszp_cuda_compress(input.data(), c.dtype, c.n, 0.0f, results.as<float>(16), c.mode, packed.data(), packed.size(),
                        results.as<uint64_t>(), results.as<uint32_t>(8), workspace.data(), workspace.size(), stream);
    CUDA_OK(cudaStreamSynchronize(stream));
    const auto result = results.download();
    uint32_t status;
    std::memcpy(&status, result.data() + 8, 4);
    expect(status == (bound == c.bound ? CUSZP_OK : CUSZP_INVALID_ARGUMENT), "device bound " + std::to_string(bound));
  }
  expect(packed.download() == host.stream, "device bound stream");
}

// Range and bounds on the device are those of the host.
void check_ranges(DeviceBytes& workspace, cudaStream_t stream, bool full) {
  for (cuszp_dtype dtype : kDtypes) {
    for (const char* kind : {"cache", "edge", "bits", "zero"}) {
      for (size_t n : {size_t(0), size_t(1), size_t(1001), size_t(300007)}) {
        if (n > 100000 && !full) continue;
        for (size_t offset : {size_t(0), size_t(2), size_t(3)}) {
          const auto values = stored(make_values(kind, n, n), dtype);
          cuszp_range host;
          cuszp_measure_range(values.data(), dtype, n, 1, &host);
          DeviceBytes input(values.size() + offset), results(64);
          results.fill(0xff);
          if (n) input.upload(values.data(), values.size(), offset);
          CUDA_OK(cudaDeviceSynchronize());
          cuszp_cuda_measure_range(input.data() + offset, dtype, n, results.as<cuszp_range>(), workspace.data(),
                                   workspace.size(), stream);
          cuszp_cuda_effective_bound(results.as<cuszp_range>(), CUSZP_CUDA_BOUND_ABS, 0.01, CUSZP_CUDA_BOUND_STRICT,
                                     results.as<float>(32), stream);
          cuszp_cuda_effective_bound(results.as<cuszp_range>(), CUSZP_CUDA_BOUND_REL, 1e-3, CUSZP_CUDA_BOUND_COMPATIBLE,
                                     results.as<float>(36), stream);
          CUDA_OK(cudaStreamSynchronize(stream));
          const auto got = results.download();
          cuszp_range range;
          float bounds[2];
          std::memcpy(&range, got.data(), sizeof range);
          std::memcpy(bounds, got.data() + 32, 8);
          const std::string name = std::string(kind) + " " + dtype_name(dtype) + " n=" + std::to_string(n);
          expect(range.minimum == host.minimum && range.maximum == host.maximum && range.max_abs == host.max_abs &&
                     range.non_finite == host.non_finite,
                 "range " + name);
          expect(bounds[0] == cuszp_strict_error_bound(0.01, host.max_abs), "strict bound " + name);
          const float relative = static_cast<float>(1e-3 * double(host.maximum - host.minimum));
          expect(bounds[1] == (std::isfinite(relative) ? relative : 0.0f), "relative bound " + name);
        }
      }
    }
  }
}

// Compress + decompress captured once, behind a copy and a fill, replayed with new input each time.
void check_graph_replay(DeviceBytes& workspace, size_t n) {
  const Case c{"cache", n, CUSZP_BF16, CUSZP_MODE_PLAIN, 0.05f, 0, 0};
  const size_t value_bytes = c.n * element_bytes(c.dtype);
  DeviceBytes source(value_bytes), input(value_bytes), packed(cuszp_max_compressed_bytes(c.n)), output(value_bytes);
  DeviceBytes results(32);
  cudaStream_t stream;
  CUDA_OK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  cudaGraph_t graph;
  cudaGraphExec_t replay;
  CUDA_OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
  CUDA_OK(cudaMemcpyAsync(input.data(), source.data(), value_bytes, cudaMemcpyDeviceToDevice, stream));
  cuszp_cuda_compress(input.data(), c.dtype, c.n, c.bound, nullptr, c.mode, packed.data(), packed.size(),
                      results.as<uint64_t>(), results.as<uint32_t>(8), workspace.data(), workspace.size(), stream);
  CUDA_OK(cudaMemsetAsync(output.data(), kPoison, value_bytes, stream));
  cuszp_cuda_decompress(packed.data(), packed.size(), results.as<uint64_t>(), c.n, c.bound, nullptr, c.mode, c.dtype,
                        output.data(), results.as<uint32_t>(16), workspace.data(), workspace.size(), stream);
  CUDA_OK(cudaStreamEndCapture(stream, &graph));
  CUDA_OK(cudaGraphInstantiate(&replay, graph, 0));
  for (int round = 0; round < 5; ++round) {
    const auto values = stored(make_values("cache", c.n, 100 + round), c.dtype);
    const auto host = host_codec(c, values);
    source.upload(values.data(), value_bytes);
    packed.fill(kPoison);
    CUDA_OK(cudaDeviceSynchronize());
    CUDA_OK(cudaGraphLaunch(replay, stream));
    CUDA_OK(cudaStreamSynchronize(stream));
    auto stream_bytes = packed.download();
    stream_bytes.resize(host.stream.size());
    expect(stream_bytes == host.stream, "graph replay stream " + std::to_string(round));
    expect(output.download() == host.decoded, "graph replay values " + std::to_string(round));
  }
  CUDA_OK(cudaGraphExecDestroy(replay));
  CUDA_OK(cudaGraphDestroy(graph));
  CUDA_OK(cudaStreamDestroy(stream));
}

// Several side streams at once, each with its own workspace, many calls in flight; the results must be the host's.
void check_concurrent_streams(size_t n, int rounds) {
  constexpr int kStreams = 3;
  const Case c{"cache", n, CUSZP_F32, CUSZP_MODE_PLAIN, 0.05f, 0, 0};
  const size_t value_bytes = n * 4;
  const auto values = stored(make_values(c.kind, n, 9), c.dtype);
  const auto host = host_codec(c, values);
  DeviceBytes input(value_bytes);
  input.upload(values.data(), value_bytes);
  std::vector<std::unique_ptr<DeviceBytes>> packed, output, results, workspaces;
  std::vector<cudaStream_t> streams(kStreams);
  for (int s = 0; s < kStreams; ++s) {
    packed.push_back(std::make_unique<DeviceBytes>(host.stream.size()));
    output.push_back(std::make_unique<DeviceBytes>(value_bytes));
    results.push_back(std::make_unique<DeviceBytes>(32));
    workspaces.push_back(std::make_unique<DeviceBytes>(cuszp_cuda_workspace_bytes(n)));
    output.back()->fill(kPoison);
    packed.back()->fill(kPoison);
    CUDA_OK(cudaStreamCreateWithFlags(&streams[s], cudaStreamNonBlocking));
    cuszp_cuda_workspace_init(workspaces[s]->data(), workspaces[s]->size(), streams[s]);
  }
  CUDA_OK(cudaDeviceSynchronize());
  for (int round = 0; round < rounds; ++round) {
    for (int s = 0; s < kStreams; ++s) {
      cuszp_cuda_compress(input.data(), c.dtype, n, c.bound, nullptr, c.mode, packed[s]->data(), packed[s]->size(),
                          results[s]->as<uint64_t>(), results[s]->as<uint32_t>(8), workspaces[s]->data(),
                          workspaces[s]->size(), streams[s]);
      cuszp_cuda_decompress(packed[s]->data(), packed[s]->size(), results[s]->as<uint64_t>(), n, c.bound, nullptr,
                            c.mode, c.dtype, output[s]->data(), results[s]->as<uint32_t>(16), workspaces[s]->data(),
                            workspaces[s]->size(), streams[s]);
    }
  }
  for (int s = 0; s < kStreams; ++s) {
    CUDA_OK(cudaStreamSynchronize(streams[s]));
    expect(packed[s]->download() == host.stream, "concurrent stream bytes " + std::to_string(s));
    expect(output[s]->download() == host.decoded, "concurrent values " + std::to_string(s));
    CUDA_OK(cudaStreamDestroy(streams[s]));
  }
}

// GOLDEN: records of u32 n, f32 bound, u32 mode, u32 stream bytes, input (n float32), stream.
void check_golden(const char* path, DeviceBytes& workspace, cudaStream_t stream) {
  std::FILE* file = std::fopen(path, "rb");
  if (!file) {
    expect(false, std::string("cannot open ") + path);
    return;
  }
  uint32_t head[4];
  int count = 0;
  while (std::fread(head, 4, 4, file) == 4) {
    Case c{"golden", head[0], CUSZP_F32, static_cast<cuszp_mode>(head[2]), 0, 0, 0};
    std::memcpy(&c.bound, &head[1], 4);
    std::vector<uint8_t> values(size_t(head[0]) * 4);
    HostResult host;
    host.stream.resize(head[3]);
    expect(std::fread(values.data(), 1, values.size(), file) == values.size() &&
               std::fread(host.stream.data(), 1, head[3], file) == head[3],
           "golden file cut short");
    expect(host_codec(c, values).stream == host.stream, "host golden " + c.name());
    host.decoded = host_codec(c, values).decoded;
    compare_case(c, values, host, workspace, stream);
    ++count;
  }
  std::fclose(file);
  std::printf("golden streams: %d\n", count);
}

}  // namespace

int main(int argc, char** argv) {
  if (const char* problem = cuszp_cuda_device_problem()) {
    std::printf("%s\n", problem);
    return 77;
  }
  const std::string what = argc > 1 ? argv[1] : "";
  const Extent extent = what == "--tiny" ? Extent::kTiny : what == "--small" ? Extent::kSmall : Extent::kFull;
  const bool full = extent == Extent::kFull;
  cudaStream_t stream;
  CUDA_OK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  DeviceBytes workspace(cuszp_cuda_workspace_bytes(size_t(full ? 1 << 26 : 1 << 23)));
  cuszp_cuda_workspace_init(workspace.data(), workspace.size(), stream);
  check_sizes_and_alignments(workspace, stream, extent);
  check_long_streams(workspace, stream);
  if (full) {
    // Tiles of no payload outrun the look-back as far as the pipeline lets them.
    for (cuszp_mode mode : kModes)
      run_case({"zero", size_t(1) << 24, CUSZP_BF16, mode, 0.01f, 0, 0}, workspace, stream);
    run_case({"sparse", size_t(1) << 24, CUSZP_F32, CUSZP_MODE_PLAIN, 0.01f, 0, 0}, workspace, stream);
  }
  check_ranges(workspace, stream, full);
  check_small_capacity(workspace, stream);
  check_device_bounds(workspace, stream);
  check_graph_replay(workspace, full ? 300001 : 30001);
  if (full) check_graph_replay(workspace, 9000001);
  check_concurrent_streams(full ? 3000001 : 70001, full ? 50 : 2);
  if (full) {
    for (cuszp_dtype dtype : kDtypes)
      run_case({"cache", (size_t(1) << 25) + 77, dtype, CUSZP_MODE_OUTLIER, 0.06f, 0, 0}, workspace, stream);
    for (int i = 1; i < argc; ++i) check_golden(argv[i], workspace, stream);
  }
  const auto words = workspace.download();
  expect(std::all_of(words.begin(), words.end(), [](uint8_t b) { return b == 0; }), "workspace left zero");
  std::printf("cuda_check: %d comparisons, %d failed\n", comparisons, failures);
  return failures ? 1 : 0;
}
