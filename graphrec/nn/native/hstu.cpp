// HSTU attention over histories of different lengths: silu(q k^T alpha + bias) v / scale, forward
// and gradients (Zhai et al., Actions Speak Louder than Words, ICML 2024).
//
// Interface and rules are those of rows.cpp. One task is one row of the batch: its keys and values
// are packed once for all heads, and a block of queries meets them in tiles that stay in the
// caches. Scores are never kept: the gradients compute them again, which costs one product of six
// and saves B * H * L * L numbers of memory. Only the part of a block that the mask lets through
// is computed, so the cost is that of the real pairs.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <vector>

namespace {

#ifdef __AVX512F__
constexpr int kLanes = 16, kWide = 4;
#else
constexpr int kLanes = 8, kWide = 2;
#endif
constexpr int kRows = 6;         // of a tile: kRows * kWide sums stay in registers
constexpr int64_t kQueries = 48; // a block: its scores against 512 keys are 96 KiB, within L2

using Lanes = float __attribute__((vector_size(kLanes * sizeof(float))));
using Ints = int32_t __attribute__((vector_size(kLanes * sizeof(int32_t))));

inline Lanes load(const float* at) {
  Lanes lanes;
  std::memcpy(&lanes, at, sizeof lanes);
  return lanes;
}

inline void store(float* at, Lanes lanes) { std::memcpy(at, &lanes, sizeof lanes); }

inline int64_t padded(int64_t width) { return (width + kLanes - 1) / kLanes * kLanes; }

inline Lanes all(float value) { return Lanes{} + value; }

// e^x to 2 units in the last place; the argument is held where the result is a normal number.
inline Lanes exponential(Lanes x) {
  x = x > all(88.0f) ? all(88.0f) : (x < all(-87.0f) ? all(-87.0f) : x);
  // Adding 1.5 * 2^23 rounds to the nearest integer, which then stands in the lowest bits.
  const Lanes magic = all(12582912.0f);
  const Lanes shifted = x * 1.44269504088896341f + magic;
  const Lanes whole = shifted - magic;
  const Lanes rest = (x - whole * 0.693359375f) + whole * 2.12194440e-4f;
  Lanes series = all(1.9875691500e-4f);
  series = series * rest + 1.3981999507e-3f;
  series = series * rest + 8.3334519073e-3f;
  series = series * rest + 4.1665795894e-2f;
  series = series * rest + 1.6666665459e-1f;
  series = series * rest + 5.0000001201e-1f;
  const Lanes value = series * rest * rest + rest + 1.0f;
  Ints bits, power;
  std::memcpy(&bits, &shifted, sizeof bits);
  power = (bits + 127) << 23;
  Lanes scale;
  std::memcpy(&scale, &power, sizeof scale);
  return value * scale;
}

// R rows by W vectors of C (+)= A B; A's elements are `a_row` and `a_column` apart.
template <int R, int W, bool Add>
inline void tile(const float* a, int64_t a_row, int64_t a_column, const float* b, int64_t b_row,
                 float* c, int64_t c_row, int64_t depth) {
  Lanes sums[R][W];
  for (int r = 0; r < R; ++r) {
    for (int w = 0; w < W; ++w) sums[r][w] = Add ? load(c + r * c_row + w * kLanes) : Lanes{};
  }
  for (int64_t k = 0; k < depth; ++k) {
    Lanes from[W];
    for (int w = 0; w < W; ++w) from[w] = load(b + k * b_row + w * kLanes);
    for (int r = 0; r < R; ++r) {
      const float factor = a[r * a_row + k * a_column];
      for (int w = 0; w < W; ++w) sums[r][w] += factor * from[w];
    }
  }
  for (int r = 0; r < R; ++r) {
    for (int w = 0; w < W; ++w) store(c + r * c_row + w * kLanes, sums[r][w]);
  }
}

template <int W, bool Add>
void strip(const float* a, int64_t a_row, int64_t a_column, const float* b, int64_t b_row, float* c,
           int64_t c_row, int64_t rows, int64_t depth) {
  int64_t r = 0;
  for (; r + kRows <= rows; r += kRows) {
    tile<kRows, W, Add>(a + r * a_row, a_row, a_column, b, b_row, c + r * c_row, c_row, depth);
  }
  for (; r < rows; ++r) {
    tile<1, W, Add>(a + r * a_row, a_row, a_column, b, b_row, c + r * c_row, c_row, depth);
  }
}

// C [rows, columns] (+)= A B; `columns` is a multiple of kLanes.
template <bool Add>
void multiply(const float* a, int64_t a_row, int64_t a_column, const float* b, int64_t b_row,
              float* c, int64_t c_row, int64_t rows, int64_t columns, int64_t depth) {
  int64_t n = 0;
  for (; n + kWide * kLanes <= columns; n += kWide * kLanes) {
    strip<kWide, Add>(a, a_row, a_column, b + n, b_row, c + n, c_row, rows, depth);
  }
  for (; n < columns; n += kLanes) {
    strip<1, Add>(a, a_row, a_column, b + n, b_row, c + n, c_row, rows, depth);
  }
}

struct Shape {
  int64_t rows, heads, width, value_width;  // of q and k, of v
  float alpha, inverse_scale;
  int64_t window, context;  // 0: none
  int64_t positions, buckets;
};

struct Inputs {
  const float *q, *k, *v;          // [T, H, width], v and the result [T, H, value_width]
  const int64_t *starts, *targets; // [B + 1]; [B] or null
  const float* position_bias;      // by distance [positions], or null
  const float* time_bias;          // by bucket [buckets], or null
  const int64_t *times, *limits;   // [T]; least difference of every bucket, ascending from 0
};

// Which steps a query meets: [low, high) and itself.
struct Mask {
  int64_t length, history, context, window;

  Mask(const Shape& shape, const Inputs& in, int64_t row)
      : length(in.starts[row + 1] - in.starts[row]),
        history(length - (in.targets == nullptr ? 0 : in.targets[row])),
        context(std::min(shape.context, history)),
        window(shape.window) {}

  int64_t high(int64_t query) const {
    return query < context ? history : std::min(query, history);
  }
  // All candidates stand where the first one does: none is further from the history.
  int64_t distance(int64_t i, int64_t j) const {
    return std::abs(std::min(i, history) - std::min(j, history));
  }
  int64_t low(int64_t query) const {
    if (window == 0 || query < context) return 0;
    // All of the context counts as one step, and so do all targets.
    const int64_t first = std::min(query, history) - window;
    return first <= std::max<int64_t>(context - 1, 0) ? 0 : first;
  }
};

// One head of a row: steps side by side, each filled up to whole vectors, and across.
struct Head {
  std::vector<float> q, k, v, kt, vt, grad, of_q, of_k, of_v;
};

// What a thread needs for one row and one block; grown to the longest row once.
struct Scratch {
  std::vector<Head> heads;
  std::vector<float> scores, slopes, weights, sums, bias, of_bias;
  std::vector<int32_t> bucket;
};

// x [length, :] of head h, `width` numbers a step, zeros up to the next multiple of kLanes.
void gather(const float* x, int64_t start, int64_t length, int64_t heads, int64_t h, int64_t width,
            std::vector<float>& to) {
  const int64_t step = padded(width);
  to.resize(length * step);
  for (int64_t i = 0; i < length; ++i) {
    const float* from = x + ((start + i) * heads + h) * width;
    float* row = to.data() + i * step;
    std::copy(from, from + width, row);
    std::fill(row + width, row + step, 0.0f);
  }
}

// [width, padded(length)] of a packed [length, padded(width)].
void transpose(const std::vector<float>& x, int64_t length, int64_t width, std::vector<float>& to) {
  const int64_t step = padded(length), from = padded(width);
  to.assign(width * step, 0.0f);
  for (int64_t i = 0; i < length; ++i) {
    for (int64_t d = 0; d < width; ++d) to[d * step + i] = x[i * from + d];
  }
}

struct Block {
  int64_t first, last, from, to, step;  // queries, keys that any of them meets, row of scores

  Block(const Mask& mask, int64_t begin)
      : first(begin), last(std::min(begin + kQueries, mask.length)), from(mask.length), to(0) {
    for (int64_t i = first; i < last; ++i) {
      const int64_t low = mask.low(i), high = mask.high(i);
      from = std::min(from, low < high ? std::min(low, i) : i);
      to = std::max({to, high, i + 1});
    }
    from = from / kLanes * kLanes;  // whole vectors of the transposed keys
    step = padded(to - from);
  }
};

// What the steps' distance and time add to the scores of a block: the same for every head.
void biases(const Shape& shape, const Inputs& in, const Mask& mask, int64_t start,
            const Block& block, Scratch& s) {
  if (in.position_bias == nullptr && in.time_bias == nullptr) return;
  const int64_t most = (block.last - block.first) * block.step;
  s.bias.assign(most, 0.0f);
  if (in.time_bias != nullptr) s.bucket.resize(most);
  int64_t bucket = 0;  // of the step before: times that are in order move it by little
  for (int64_t i = block.first; i < block.last; ++i) {
    const int64_t at = (i - block.first) * block.step;
    for (int64_t j = block.from; j < block.to; ++j) {
      float sum = 0.0f;
      if (in.position_bias != nullptr) {
        sum += in.position_bias[std::min(mask.distance(i, j), shape.positions - 1)];
      }
      if (in.time_bias != nullptr) {
        const int64_t apart = std::abs(in.times[start + i] - in.times[start + j]);
        while (bucket > 0 && in.limits[bucket] > apart) --bucket;
        while (bucket + 1 < shape.buckets && in.limits[bucket + 1] <= apart) ++bucket;
        s.bucket[at + j - block.from] = static_cast<int32_t>(bucket);
        sum += in.time_bias[bucket];
      }
      s.bias[at + j - block.from] = sum;
    }
  }
}

// weights = silu(alpha q k^T + bias) / scale where the mask lets through, else 0, and their slopes.
void weigh(const Shape& shape, const Mask& mask, const Block& block, bool biased, bool slopes,
           Scratch& s) {
  const Lanes alpha = all(shape.alpha), scale = all(shape.inverse_scale);
  for (int64_t i = block.first; i < block.last; ++i) {
    const int64_t at = (i - block.first) * block.step;
    float *weight = s.weights.data() + at, *slope = s.slopes.data() + at;
    for (int64_t j = 0; j < block.step; j += kLanes) {
      Lanes x = load(s.scores.data() + at + j) * alpha;
      if (biased) x += load(s.bias.data() + at + j);
      const Lanes gate = 1.0f / (1.0f + exponential(-x));
      store(weight + j, x * gate * scale);
      if (slopes) store(slope + j, (gate + x * gate * (1.0f - gate)) * scale);
    }
    const int64_t low = mask.low(i) - block.from, high = mask.high(i) - block.from;
    const int64_t self = i - block.from;
    const auto clear = [&](int64_t begin, int64_t end) {
      begin = std::max<int64_t>(begin, 0);
      if (begin >= end) return;
      std::fill(weight + begin, weight + end, 0.0f);
      if (slopes) std::fill(slope + begin, slope + end, 0.0f);
    };
    const float own = weight[self], own_slope = slopes ? slope[self] : 0.0f;
    clear(0, std::min(low, block.step));
    clear(std::max<int64_t>(high, 0), block.step);
    weight[self] = own;
    if (slopes) slope[self] = own_slope;
  }
}

void score(const Shape& shape, const Block& block, const Head& head, Scratch& s, int64_t length) {
  const int64_t width = padded(shape.width);
  multiply<false>(head.q.data() + block.first * width, width, 1, head.kt.data() + block.from,
                  padded(length), s.scores.data(), block.step, block.last - block.first, block.step,
                  shape.width);
}

// Rows, the longest first, so that no thread is left with a long one at the end.
std::vector<int64_t> by_length(const Inputs& in, int64_t rows) {
  std::vector<int64_t> order(rows);
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return in.starts[a + 1] - in.starts[a] > in.starts[b + 1] - in.starts[b];
  });
  return order;
}

void size(const Mask& mask, Scratch& s) {
  const int64_t most = kQueries * padded(mask.length + kLanes);
  s.scores.resize(most);
  s.weights.resize(most);
  s.slopes.resize(most);
}

void read_head(const Shape& shape, const Inputs& in, int64_t start, int64_t length, int64_t h,
               Head& head) {
  gather(in.q, start, length, shape.heads, h, shape.width, head.q);
  gather(in.k, start, length, shape.heads, h, shape.width, head.k);
  gather(in.v, start, length, shape.heads, h, shape.value_width, head.v);
  transpose(head.k, length, shape.width, head.kt);
}

void forward_row(const Shape& shape, const Inputs& in, int64_t row, float* out, Scratch& s) {
  const Mask mask(shape, in, row);
  const int64_t start = in.starts[row], value = padded(shape.value_width);
  const bool biased = in.position_bias != nullptr || in.time_bias != nullptr;
  size(mask, s);
  s.sums.resize(kQueries * value);
  s.heads.resize(shape.heads);
  for (int64_t h = 0; h < shape.heads; ++h) {
    read_head(shape, in, start, mask.length, h, s.heads[h]);
  }
  for (int64_t begin = 0; begin < mask.length; begin += kQueries) {
    const Block block(mask, begin);
    biases(shape, in, mask, start, block, s);
    for (int64_t h = 0; h < shape.heads; ++h) {
      score(shape, block, s.heads[h], s, mask.length);
      weigh(shape, mask, block, biased, false, s);
      multiply<false>(s.weights.data(), block.step, 1, s.heads[h].v.data() + block.from * value,
                      value, s.sums.data(), value, block.last - block.first, value,
                      block.to - block.from);
      for (int64_t i = block.first; i < block.last; ++i) {
        const float* from = s.sums.data() + (i - block.first) * value;
        std::copy(from, from + shape.value_width,
                  out + ((start + i) * shape.heads + h) * shape.value_width);
      }
    }
  }
}

struct Gradients {
  float *q, *k, *v, *position, *time;  // the last two by thread, or null
};

// The gradients of one block of one head's queries; of_k, of_v and of_bias are added to.
void block_backward(const Shape& shape, const Mask& mask, const Block& block, bool biased,
                    Head& head, Scratch& s) {
  const int64_t width = padded(shape.width), value = padded(shape.value_width);
  const int64_t queries = block.last - block.first, keys = block.to - block.from;
  score(shape, block, head, s, mask.length);
  weigh(shape, mask, block, biased, true, s);
  const float* grad = head.grad.data() + block.first * value;
  // Gradient of the weights, then in its place of what silu was given.
  multiply<false>(grad, value, 1, head.vt.data() + block.from, padded(mask.length), s.scores.data(),
                  block.step, queries, block.step, shape.value_width);
  for (int64_t n = 0; n < queries * block.step; n += kLanes) {
    store(s.scores.data() + n, load(s.scores.data() + n) * load(s.slopes.data() + n));
  }
  multiply<true>(s.weights.data(), 1, block.step, grad, value, head.of_v.data() + block.from * value,
                 value, keys, value, queries);
  if (biased) {
    for (int64_t n = 0; n < queries * block.step; n += kLanes) {
      store(s.of_bias.data() + n, load(s.of_bias.data() + n) + load(s.scores.data() + n));
    }
  }
  for (int64_t n = 0; n < queries * block.step; n += kLanes) {
    store(s.scores.data() + n, load(s.scores.data() + n) * shape.alpha);
  }
  multiply<false>(s.scores.data(), block.step, 1, head.k.data() + block.from * width, width,
                  head.of_q.data() + block.first * width, width, queries, width, keys);
  multiply<true>(s.scores.data(), 1, block.step, head.q.data() + block.first * width, width,
                 head.of_k.data() + block.from * width, width, keys, width, queries);
}

void bias_gradients(const Shape& shape, const Mask& mask, const Block& block, const Gradients& to, Scratch& s) {
  for (int64_t i = block.first; i < block.last; ++i) {
    const int64_t at = (i - block.first) * block.step;
    for (int64_t j = block.from; j < block.to; ++j) {
      const float grad = s.of_bias[at + j - block.from];
      if (to.position != nullptr) {
        to.position[std::min(mask.distance(i, j), shape.positions - 1)] += grad;
      }
      if (to.time != nullptr) to.time[s.bucket[at + j - block.from]] += grad;
    }
  }
}

void scatter(const std::vector<float>& x, int64_t start, int64_t length, int64_t heads, int64_t h,
             int64_t width, float* to) {
  const int64_t step = padded(width);
  for (int64_t i = 0; i < length; ++i) {
    const float* from = x.data() + i * step;
    std::copy(from, from + width, to + ((start + i) * heads + h) * width);
  }
}

void backward_row(const Shape& shape, const Inputs& in, int64_t row, const float* grad,
                  const Gradients& to, Scratch& s) {
  const Mask mask(shape, in, row);
  const int64_t start = in.starts[row], width = padded(shape.width);
  const int64_t value = padded(shape.value_width);
  const bool biased = in.position_bias != nullptr || in.time_bias != nullptr;
  size(mask, s);
  s.heads.resize(shape.heads);
  for (int64_t h = 0; h < shape.heads; ++h) {
    Head& head = s.heads[h];
    read_head(shape, in, start, mask.length, h, head);
    gather(grad, start, mask.length, shape.heads, h, shape.value_width, head.grad);
    transpose(head.v, mask.length, shape.value_width, head.vt);
    head.of_q.assign(mask.length * width, 0.0f);
    head.of_k.assign(mask.length * width, 0.0f);
    head.of_v.assign(mask.length * value, 0.0f);
  }
  for (int64_t begin = 0; begin < mask.length; begin += kQueries) {
    const Block block(mask, begin);
    biases(shape, in, mask, start, block, s);
    if (biased) s.of_bias.assign((block.last - block.first) * block.step, 0.0f);
    for (int64_t h = 0; h < shape.heads; ++h) {
      block_backward(shape, mask, block, biased, s.heads[h], s);
    }
    if (biased) bias_gradients(shape, mask, block, to, s);
  }
  for (int64_t h = 0; h < shape.heads; ++h) {
    const Head& head = s.heads[h];
    scatter(head.of_q, start, mask.length, shape.heads, h, shape.width, to.q);
    scatter(head.of_k, start, mask.length, shape.heads, h, shape.width, to.k);
    scatter(head.of_v, start, mask.length, shape.heads, h, shape.value_width, to.v);
  }
}

}  // namespace

extern "C" {

// out [T, H, value_width]; see Shape and Inputs for the others.
void graphrec_hstu(const Shape* shape, const Inputs* in, float* out, int threads) {
  const std::vector<int64_t> order = by_length(*in, shape->rows);
#pragma omp parallel num_threads(threads)
  {
    Scratch scratch;
#pragma omp for schedule(dynamic, 1)
    for (int64_t n = 0; n < shape->rows; ++n) forward_row(*shape, *in, order[n], out, scratch);
  }
}

// Gradients of q, k, v like them; those of the biases are sums by row, [B, positions] and
// [B, buckets], so that they do not depend on which thread took a row.
void graphrec_hstu_backward(const Shape* shape, const Inputs* in, const float* grad, float* of_q,
                            float* of_k, float* of_v, float* of_position, float* of_time,
                            int threads) {
  const std::vector<int64_t> order = by_length(*in, shape->rows);
#pragma omp parallel num_threads(threads)
  {
    Scratch scratch;
#pragma omp for schedule(dynamic, 1)
    for (int64_t n = 0; n < shape->rows; ++n) {
      const int64_t row = order[n];
      const Gradients to{of_q, of_k, of_v,
                         of_position == nullptr ? nullptr : of_position + row * shape->positions,
                         of_time == nullptr ? nullptr : of_time + row * shape->buckets};
      backward_row(*shape, *in, row, grad, to, scratch);
    }
  }
}

}  // extern "C"
