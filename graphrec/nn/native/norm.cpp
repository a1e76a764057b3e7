// The norm of many tensors together in one parallel pass; interface as in rows.cpp.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace {

constexpr int64_t kChunk = 16384;  // numbers that one thread takes at a time
constexpr int64_t kLanes = 16;     // partial sums: one alone would be a chain of additions

struct Chunk {
  const float* from;
  int64_t count;
};

double squares(const Chunk& chunk) {
  // In double: squares of finite float32 are finite there.
  double lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= chunk.count; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      const double value = chunk.from[i + lane];
      lanes[lane] += value * value;
    }
  }
  for (; i < chunk.count; ++i) lanes[0] += static_cast<double>(chunk.from[i]) * chunk.from[i];
  double sum = 0.0;
  for (const double lane : lanes) sum += lane;
  return sum;
}

}  // namespace

extern "C" {

// Sums go chunk by chunk in a fixed order: they do not depend on the number of threads.
double graphrec_norm(const float* const* tensors, const int64_t* counts, int64_t count, int threads) {
  std::vector<Chunk> chunks;
  for (int64_t t = 0; t < count; ++t) {
    for (int64_t from = 0; from < counts[t]; from += kChunk) {
      chunks.push_back({tensors[t] + from, std::min(kChunk, counts[t] - from)});
    }
  }
  std::vector<double> sums(chunks.size());
#pragma omp parallel for num_threads(threads) schedule(static)
  for (size_t i = 0; i < chunks.size(); ++i) sums[i] = squares(chunks[i]);
  double total = 0.0;
  for (const double sum : sums) total += sum;
  return std::sqrt(total);
}

}  // extern "C"
