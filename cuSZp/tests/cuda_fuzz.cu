// Decodes mutated streams on the GPU and compares every status with the host decoder's; memory past the values
// must stay as it was.
//
// cuda_fuzz [COUNT]: how many streams, default one million.
#include <algorithm>

#include "cuda_support.h"

using namespace cuszp_test;

namespace {

constexpr size_t kBatch = 8192;
constexpr size_t kSlotBytes = 12288;
constexpr size_t kValueBytes = 8448;
constexpr size_t kMostElements = 2048;
constexpr int kStreams = 8;
constexpr uint8_t kPoison = 0xA5;

struct Seed {
  std::vector<uint8_t> stream;
  size_t n;
  cuszp_mode mode;
  cuszp_dtype dtype;
};

std::vector<Seed> make_seeds(std::mt19937_64& random) {
  std::vector<Seed> seeds;
  for (int i = 0; i < 96; ++i) {
    Seed seed{{}, 1 + random() % kMostElements, static_cast<cuszp_mode>(i % 3), static_cast<cuszp_dtype>(i / 3 % 3)};
    const auto values = stored(cache_like(seed.n, i), seed.dtype);
    seed.stream.resize(cuszp_max_compressed_bytes(seed.n));
    uint64_t bytes = 0;
    cuszp_compress(values.data(), seed.dtype, seed.n, i % 2 ? 0.06f : 1e-4f, seed.mode, 1, seed.stream.data(),
                   seed.stream.size(), &bytes);
    seed.stream.resize(bytes);
    seeds.push_back(seed);
  }
  return seeds;
}

// Metadata, payload or length; sometimes everything.
std::vector<uint8_t> mutate(const Seed& seed, std::mt19937_64& random) {
  std::vector<uint8_t> out = seed.stream;
  const size_t blocks = (seed.n + 31) / 32;
  switch (random() % 8) {
    case 0:
      for (uint8_t& byte : out) byte = static_cast<uint8_t>(random());
      break;
    case 1:
      out.resize(random() % (out.size() + 1));
      break;
    case 2:
      out.resize(std::min(out.size() + random() % 300, kSlotBytes - 64), 0x11);
      break;
    case 3:
      for (size_t i = 0; i < blocks; ++i) out[i] = static_cast<uint8_t>(random() % 32);
      break;
    case 4:
      for (size_t i = 0; i < blocks; ++i) out[i] = static_cast<uint8_t>(0x80 | random() % 128);
      break;
    case 5:
      out[random() % 1024] ^= 1 << random() % 8;
      break;
    case 6: {  // two neighbours trade a plane: the length stays right
      const size_t at = random() % blocks;
      if (out[at] && out[at] < 31) ++out[at];
      if (at + 1 < blocks && out[at + 1] > 1) --out[at + 1];
      break;
    }
    default:
      for (int i = 0; i < 20 && out.size() > 1024; ++i)
        out[1024 + random() % (out.size() - 1024)] = static_cast<uint8_t>(random());
  }
  return out;
}

struct Round {
  std::vector<uint8_t> slots = std::vector<uint8_t>(kBatch * kSlotBytes);
  std::vector<size_t> seed = std::vector<size_t>(kBatch);
  std::vector<uint64_t> bytes = std::vector<uint64_t>(kBatch);
  std::vector<uint32_t> expected = std::vector<uint32_t>(kBatch);
  std::vector<std::vector<uint8_t>> values = std::vector<std::vector<uint8_t>>(kBatch);
};

void fill(Round& round, const std::vector<Seed>& seeds, std::mt19937_64& random) {
  for (size_t i = 0; i < kBatch; ++i) {
    round.seed[i] = random() % seeds.size();
    const Seed& seed = seeds[round.seed[i]];
    const auto stream = mutate(seed, random);
    round.bytes[i] = stream.size();
    std::copy(stream.begin(), stream.end(), round.slots.begin() + i * kSlotBytes);
    round.values[i].resize(seed.n * element_bytes(seed.dtype));
    round.expected[i] =
        cuszp_decompress(stream.data(), stream.size(), seed.n, 0.05f, seed.mode, seed.dtype, 1, round.values[i].data());
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (const char* problem = cuszp_cuda_device_problem()) {
    std::printf("%s\n", problem);
    return 77;
  }
  const size_t count = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1000000;
  std::mt19937_64 random(2026);
  const auto seeds = make_seeds(random);
  DeviceBytes slots(kBatch * kSlotBytes), values(kBatch * kValueBytes), statuses(kBatch * 4);
  cudaStream_t streams[kStreams];
  std::vector<std::unique_ptr<DeviceBytes>> workspaces;
  for (auto& stream : streams) {
    CUDA_OK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    workspaces.push_back(std::make_unique<DeviceBytes>(cuszp_cuda_workspace_bytes(kMostElements)));
    workspaces.back()->fill(0);
  }
  Round round;
  size_t done = 0, wrong = 0, per_status[16] = {};
  for (; done < count && wrong < 20; done += kBatch) {
    fill(round, seeds, random);
    slots.upload(round.slots.data(), round.slots.size());
    values.fill(kPoison);
    statuses.fill(0xff);
    CUDA_OK(cudaDeviceSynchronize());
    for (size_t i = 0; i < kBatch; ++i) {
      const Seed& seed = seeds[round.seed[i]];
      const auto enqueued = cuszp_cuda_decompress(slots.data() + i * kSlotBytes, round.bytes[i], nullptr, seed.n, 0.05f,
                                                  nullptr, seed.mode, seed.dtype, values.data() + i * kValueBytes,
                                                  statuses.as<uint32_t>(4 * i), workspaces[i % kStreams]->data(),
                                                  workspaces[i % kStreams]->size(), streams[i % kStreams]);
      if (enqueued != CUSZP_OK) ++wrong;
    }
    CUDA_OK(cudaDeviceSynchronize());
    const auto got = statuses.download();
    const auto decoded = values.download();
    for (size_t i = 0; i < kBatch; ++i) {
      uint32_t status;
      std::memcpy(&status, &got[4 * i], 4);
      ++per_status[status & 15];
      const size_t size = round.values[i].size();
      const bool same = status == round.expected[i];
      const bool equal = status != CUSZP_OK ||
                         std::equal(round.values[i].begin(), round.values[i].end(), decoded.begin() + i * kValueBytes);
      const bool guarded = std::all_of(decoded.begin() + i * kValueBytes + size,
                                       decoded.begin() + (i + 1) * kValueBytes, [](uint8_t b) { return b == kPoison; });
      if (same && equal && guarded) continue;
      if (++wrong <= 20) {
        std::printf("FAILED stream %zu n=%zu mode=%d dtype=%d: status %u for %u, values %d, guard %d\n", done + i,
                    seeds[round.seed[i]].n, seeds[round.seed[i]].mode, seeds[round.seed[i]].dtype, status,
                    round.expected[i], equal, guarded);
      }
    }
  }
  std::printf("cuda_fuzz: %zu streams, %zu wrong; by status:", done, wrong);
  for (int s = 0; s < 9; ++s) std::printf(" %s=%zu", cuszp_status_text(static_cast<cuszp_status>(s)), per_status[s]);
  std::printf("\n");
  return wrong ? 1 : 0;
}
