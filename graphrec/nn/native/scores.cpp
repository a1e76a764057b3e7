// Scores of every candidate against every step of one history: a small perceptron over all pairs.
//
// Interface and rules are those of rows.cpp. What a pair needs stays in the caches: a block of
// candidates goes through all layers before the next one starts, and nothing but scores is written.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

#ifdef __AVX512F__
constexpr int kLanes = 16, kWide = 4;
#else
constexpr int kLanes = 8, kWide = 2;
#endif
constexpr int kRows = 6;          // of a tile: kRows * kWide sums stay in registers
constexpr int64_t kBlock = 126;   // most candidates that go through all layers together

using Lanes = float __attribute__((vector_size(kLanes * sizeof(float))));

struct Layer {
  const float* weight;  // [out, in]
  const float* bias;    // [out], or null
  int64_t in, out, rectified;
};

inline Lanes load(const float* at) {
  Lanes made;
  std::memcpy(&made, at, sizeof made);
  return made;
}

inline int64_t padded(int64_t width) { return (width + kLanes - 1) / kLanes * kLanes; }

// W^T [in, padded(out)], zeros in what is added.
std::vector<float> transposed(const float* weight, int64_t in, int64_t out, int64_t step) {
  std::vector<float> made(in * padded(out), 0.0f);
  for (int64_t o = 0; o < out; ++o) {
    for (int64_t i = 0; i < in; ++i) made[i * padded(out) + o] = weight[o * step + i];
  }
  return made;
}

std::vector<float> lengthened(const float* bias, int64_t out) {
  std::vector<float> made(padded(out), 0.0f);
  if (bias != nullptr) std::copy(bias, bias + out, made.begin());
  return made;
}

struct Packed {
  std::vector<float> weight, bias;
  int64_t in, width;
  bool rectified;
};

// kRows rows of x W + b by Wide vectors of columns.
template <int Wide>
inline void tile(const float* x, int64_t x_step, int64_t depth, const float* weight, int64_t width,
                 const float* bias, bool rectified, float* y) {
  Lanes sums[kRows][Wide];
  for (int w = 0; w < Wide; ++w) {
    for (int r = 0; r < kRows; ++r) sums[r][w] = load(bias + w * kLanes);
  }
  for (int64_t k = 0; k < depth; ++k) {
    Lanes from[Wide];
    for (int w = 0; w < Wide; ++w) from[w] = load(weight + k * width + w * kLanes);
    for (int r = 0; r < kRows; ++r) {
      for (int w = 0; w < Wide; ++w) sums[r][w] += x[r * x_step + k] * from[w];
    }
  }
  const Lanes zero = {};
  for (int r = 0; r < kRows; ++r) {
    for (int w = 0; w < Wide; ++w) {
      // Not the other way round: NaN stays NaN.
      const Lanes kept = rectified ? (sums[r][w] < zero ? zero : sums[r][w]) : sums[r][w];
      std::memcpy(y + r * width + w * kLanes, &kept, sizeof kept);
    }
  }
}

// y [rows, width] = x [rows, depth] W + b; rows is a multiple of kRows, width of kLanes.
void multiply(const float* x, int64_t x_step, int64_t rows, int64_t depth, const float* weight,
              int64_t width, const float* bias, bool rectified, float* y) {
  for (int64_t left = 0; left < width; left += kWide * kLanes) {
    const int64_t vectors = std::min<int64_t>(kWide, (width - left) / kLanes);
    const auto run = vectors == 4 ? tile<4> : vectors == 3 ? tile<3> : vectors == 2 ? tile<2> : tile<1>;
    for (int64_t row = 0; row < rows; row += kRows) {
      run(x + row * x_step, x_step, depth, weight + left, width, bias + left, rectified,
          y + row * width + left);
    }
  }
}

inline float dot(const float* a, const float* b, int64_t count) {
  float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < count; ++i) sum += a[i] * b[i];
  return sum;
}

}  // namespace

extern "C" {

// scores[n, l] of query [n, depth] and steps [l, step_width], whose first `depth` numbers meet the
// query. The first layer is query (Wq + diag(s) Wp)^T + its own bias of every step [l, out]; Wq and
// Wp are [out, depth] with rows `row_step` apart. `layers` follow, the last of them of width 1.
void graphrec_scores(const float* query, int64_t n, int64_t depth, const float* steps, int64_t l,
                     int64_t step_width, const float* of_query, const float* of_product,
                     int64_t row_step, const float* biases, int64_t out, int rectified,
                     const Layer* layers, int64_t num_layers, float* scores, int threads) {
  const std::vector<float> plain = transposed(of_query, depth, out, row_step);
  const std::vector<float> met = transposed(of_product, depth, out, row_step);
  int64_t widest = padded(out);
  std::vector<Packed> later;
  for (const Layer* one = layers; one < layers + num_layers - 1; ++one) {
    // Inputs beyond `in` are zeros of the layer before: their weights are left out.
    later.push_back({transposed(one->weight, one->in, one->out, one->in),
                     lengthened(one->bias, one->out), one->in, padded(one->out),
                     one->rectified != 0});
    widest = std::max(widest, padded(one->out));
  }
  const Layer& last = layers[num_layers - 1];
  const int64_t blocks = (n + kBlock - 1) / kBlock, each = (n + blocks - 1) / blocks;
  const int64_t block = (each + kRows - 1) / kRows * kRows;  // of equal size: little is added
  std::vector<float> rows(blocks * block * depth, 0.0f);
  std::copy(query, query + n * depth, rows.begin());
#pragma omp parallel num_threads(threads)
  {
    std::vector<float> weight(plain.size()), here(block * widest), there(block * widest);
    int64_t ready = -1;  // the step that `weight` belongs to
#pragma omp for schedule(static)
    for (int64_t task = 0; task < l * blocks; ++task) {
      const int64_t step = task / blocks, first = task % blocks * block;
      const int64_t width = padded(out);
      if (step != ready) {
        for (int64_t d = 0; d < depth; ++d) {
          const float s = steps[step * step_width + d];
          for (int64_t h = d * width; h < (d + 1) * width; ++h) weight[h] = plain[h] + s * met[h];
        }
        ready = step;
      }
      const std::vector<float> bias = lengthened(biases + step * out, out);
      multiply(rows.data() + first * depth, depth, block, depth, weight.data(), width, bias.data(),
               rectified != 0, here.data());
      int64_t x_step = width;
      for (const Packed& one : later) {
        multiply(here.data(), x_step, block, one.in, one.weight.data(), one.width,
                 one.bias.data(), one.rectified, there.data());
        here.swap(there);
        x_step = one.width;
      }
      for (int64_t i = 0; i < std::min(block, n - first); ++i) {
        const float score = dot(here.data() + i * x_step, last.weight, last.in);
        scores[(first + i) * l + step] = score + (last.bias == nullptr ? 0.0f : *last.bias);
      }
    }
  }
}

}  // extern "C"
