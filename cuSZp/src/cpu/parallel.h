// Splits a run of blocks into parts and runs them on threads.
#ifndef CUSZP_SRC_CPU_PARALLEL_H
#define CUSZP_SRC_CPU_PARALLEL_H

#include <algorithm>
#include <array>
#include <cstdint>
#include <thread>

namespace cuszp {

constexpr unsigned kMaxParts = 256;
constexpr uint64_t kMinPartBlocks = 2048;  // below this starting a thread costs more than it saves

// [0, count) in nearly equal parts: one for each thread (0 = one for each core), fewer for small counts.
class Split {
 public:
  Split(uint64_t count, unsigned threads) : count_(count) {
    const uint64_t wanted = threads != 0 ? threads : std::max(1u, std::thread::hardware_concurrency());
    const uint64_t useful = std::max<uint64_t>(1, count / kMinPartBlocks);
    parts_ = static_cast<unsigned>(std::min<uint64_t>({wanted, useful, kMaxParts}));
  }

  unsigned parts() const { return parts_; }
  uint64_t begin(unsigned part) const { return count_ / parts_ * part + std::min<uint64_t>(part, count_ % parts_); }
  uint64_t end(unsigned part) const { return begin(part + 1); }

 private:
  uint64_t count_;
  unsigned parts_;
};

// Calls task(part) for every part, the first here and the others on threads of their own; a thread that cannot
// be started is no failure, its part runs here. `task` must not throw.
template <class Task>
void run_parts(const Split& split, const Task& task) noexcept {
  std::array<std::thread, kMaxParts> workers;
  for (unsigned part = 1; part < split.parts(); ++part) {
    try {
      workers[part] = std::thread([&task, part] { task(part); });
    } catch (...) {
      task(part);
    }
  }
  task(0);
  for (std::thread& worker : workers) {
    if (worker.joinable()) worker.join();
  }
}

}  // namespace cuszp

#endif
