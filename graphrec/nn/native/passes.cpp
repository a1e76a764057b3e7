// Elementwise work around matrix products, in one pass over memory where torch takes several.
//
// Interface and rules are those of rows.cpp. Sums over a batch go block by block in a fixed order:
// they do not depend on the number of threads.

#include <algorithm>
#include <cstdint>
#include <vector>

#ifdef __AVX512F__
#include <immintrin.h>
#endif

#include "numbers.h"

namespace {

using namespace graphrec;

constexpr int64_t kBlock = 64;  // rows that stay in a core's cache while they are worked on
constexpr int64_t kTile = 16;   // rows and columns that are transposed at once

// ---- the gradient before a rectifier -------------------------------------------------------------

// masked = grad where out lets it through, row by row; adds its columns to `sums`.
template <class T>
inline void rectify_rows(const T* grad, int64_t step, const T* out, int64_t rows, int64_t columns,
                         T* masked, float* __restrict sums) {
  for (int64_t row = 0; row < rows; ++row) {
    const T* __restrict g = grad + row * step;
    const T* __restrict y = out + row * columns;
    T* __restrict to = masked + row * columns;
    for (int64_t c = 0; c < columns; ++c) {
      to[c] = load(y[c]) <= 0.0f ? T{0} : g[c];  // as torch: NaN lets it through
      sums[c] += load(to[c]);
    }
  }
}

template <class T>
inline void turn_tile(const T* __restrict from, int64_t step, int64_t height, int64_t width,
                      T* __restrict to, int64_t line) {
  for (int64_t c = 0; c < width; ++c) {
    for (int64_t r = 0; r < height; ++r) to[c * line + r] = from[r * step + c];
  }
}

// As above for a whole tile of float32, past the caches: a matrix that is read much later.
inline bool stream_tile(const float* from, int64_t step, float* to, int64_t line) {
#ifdef __AVX512F__
  if (line % kTile != 0 || reinterpret_cast<uintptr_t>(to) % 64 != 0) return false;
  float tile[kTile][kTile];
  turn_tile(from, step, kTile, kTile, &tile[0][0], kTile);
  for (int64_t c = 0; c < kTile; ++c) _mm512_stream_ps(to + c * line, _mm512_loadu_ps(tile[c]));
  return true;
#else
  return (void)from, (void)step, (void)to, (void)line, false;
#endif
}

inline bool stream_tile(const Bf16*, int64_t, Bf16*, int64_t) { return false; }

inline void end_of_stream() {
#ifdef __AVX512F__
  _mm_sfence();
#endif
}

// to[c, r] = from[r, c] for a few rows of a matrix of `columns`; `line` is the width of `to`.
template <class T>
inline void turn_rows(const T* from, int64_t rows, int64_t columns, T* to, int64_t line) {
  for (int64_t left = 0; left < columns; left += kTile) {
    const int64_t width = std::min(kTile, columns - left);
    for (int64_t top = 0; top < rows; top += kTile) {
      const int64_t height = std::min(kTile, rows - top);
      const T* tile = from + top * columns + left;
      T* transposed = to + left * line + top;
      const bool whole = height == kTile && width == kTile;
      if (whole && stream_tile(tile, columns, transposed, line)) continue;
      if (whole) turn_tile(tile, columns, kTile, kTile, transposed, line);
      else turn_tile(tile, columns, height, width, transposed, line);
    }
  }
  end_of_stream();
}

template <class T>
void rectify(const T* grad, int64_t step, const T* out, int64_t rows, int64_t columns, T* masked,
             T* transposed, float* bias, int threads) {
  const int64_t blocks = (rows + kBlock - 1) / kBlock;
  std::vector<float> sums(blocks * columns, 0.0f);
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t block = 0; block < blocks; ++block) {
    const int64_t top = block * kBlock, height = std::min(kBlock, rows - top);
    const int64_t at = top * columns;
    rectify_rows(grad + top * step, step, out + at, height, columns, masked + at,
                 sums.data() + block * columns);
    if (transposed != nullptr) turn_rows(masked + at, height, columns, transposed + top, rows);
  }
  if (bias == nullptr) return;
  std::fill(bias, bias + columns, 0.0f);
  for (int64_t block = 0; block < blocks; ++block) {
    for (int64_t c = 0; c < columns; ++c) bias[c] += sums[block * columns + c];
  }
}

// ---- factorization machine: products of all pairs of fields ----------------------------------------

// Adds v and its squares over all fields; a row of fields is contiguous.
template <int64_t Dim>
inline void add_fields(const float* __restrict v, int64_t count, int64_t dim,
                       float* __restrict sum, float* __restrict squares) {
  for (int64_t field = 0; field < count; ++field, v += dim) {
    for (int64_t d = 0; d < (Dim ? Dim : dim); ++d) {
      sum[d] += v[d];
      squares[d] += v[d] * v[d];
    }
  }
}

// total = sum over fields of v, out = (total^2 - sum of v^2) / 2.
template <int64_t Dim>
void pairs(const float* fields, int64_t stride, int64_t rows, int64_t count, int64_t given,
           float* out, float* total, int threads) {
  const int64_t dim = Dim ? Dim : given;
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t row = 0; row < rows; ++row) {
    float* __restrict to = out + row * dim;
    float* __restrict all = total + row * dim;
    if constexpr (Dim != 0) {
      float sum[Dim] = {}, squares[Dim] = {};  // in registers
      add_fields<Dim>(fields + row * stride, count, dim, sum, squares);
      for (int64_t d = 0; d < Dim; ++d) all[d] = sum[d];
      for (int64_t d = 0; d < Dim; ++d) to[d] = 0.5f * (sum[d] * sum[d] - squares[d]);
    } else {
      std::fill(all, all + dim, 0.0f);
      std::fill(to, to + dim, 0.0f);
      add_fields<0>(fields + row * stride, count, dim, all, to);
      for (int64_t d = 0; d < dim; ++d) to[d] = 0.5f * (all[d] * all[d] - to[d]);
    }
  }
}

// out = (total - v) grad, [rows, count, dim].
template <int64_t Dim>
void pairs_backward(const float* fields, int64_t stride, const float* total, const float* grad,
                    int64_t rows, int64_t count, int64_t given, float* out, int threads) {
  const int64_t dim = Dim ? Dim : given;
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t row = 0; row < rows; ++row) {
    const float* __restrict v = fields + row * stride;
    const float* __restrict sum = total + row * dim;
    const float* __restrict g = grad + row * dim;
    float* __restrict to = out + row * count * dim;
    for (int64_t field = 0; field < count; ++field, v += dim, to += dim) {
      for (int64_t d = 0; d < dim; ++d) to[d] = (sum[d] - v[d]) * g[d];
    }
  }
}

// ---- experts mixed by gates ------------------------------------------------------------------------

struct Matrix {
  void* data;
  int64_t step;  // from row to row
};

// outs[t][b, d] = sum over k of weights[b, t, k] experts[k][b, d].
template <class T>
void mix(const float* weights, const Matrix* experts, int64_t count, int64_t rows, int64_t dim,
         void* const* outs, int64_t gates, int threads) {
#pragma omp parallel num_threads(threads)
  {
    std::vector<float> sums(dim);
    float* __restrict sum = sums.data();
#pragma omp for schedule(static)
    for (int64_t b = 0; b < rows; ++b) {
      for (int64_t t = 0; t < gates; ++t) {
        const float* w = weights + (b * gates + t) * count;
        std::fill(sum, sum + dim, 0.0f);
        for (int64_t k = 0; k < count; ++k) {
          const T* __restrict e = static_cast<const T*>(experts[k].data) + b * experts[k].step;
          for (int64_t d = 0; d < dim; ++d) sum[d] += w[k] * load(e[d]);
        }
        T* __restrict out = static_cast<T*>(outs[t]) + b * dim;
        for (int64_t d = 0; d < dim; ++d) store(out + d, sum[d]);
      }
    }
  }
}

// One expert's row: its gradient = sum over t of w[t] grads[t], and what each w[t] gets.
template <class T>
inline void unmix_row(const float* w, int64_t apart, const Matrix* grads, int64_t gates, int64_t b,
                      const T* __restrict expert, int64_t dim, T* __restrict to,
                      float* __restrict sum, float* to_w) {
  std::fill(sum, sum + dim, 0.0f);
  for (int64_t t = 0; t < gates; ++t) {
    const T* __restrict g = static_cast<const T*>(grads[t].data) + b * grads[t].step;
    const float weight = w[t * apart];
    float met = 0.0f;
#pragma omp simd reduction(+ : met)
    for (int64_t d = 0; d < dim; ++d) {
      sum[d] += weight * load(g[d]);
      met += load(g[d]) * load(expert[d]);
    }
    to_w[t * apart] = met;
  }
  for (int64_t d = 0; d < dim; ++d) store(to + d, sum[d]);
}

template <class T>
void unmix(const float* weights, const Matrix* experts, int64_t count, int64_t rows, int64_t dim,
           const Matrix* grads, int64_t gates, void* const* to, float* to_weights, int threads) {
#pragma omp parallel num_threads(threads)
  {
    std::vector<float> sum(dim);
#pragma omp for schedule(static)
    for (int64_t b = 0; b < rows; ++b) {
      for (int64_t k = 0; k < count; ++k) {
        const int64_t at = b * gates * count + k;
        const T* expert = static_cast<const T*>(experts[k].data) + b * experts[k].step;
        unmix_row(weights + at, count, grads, gates, b, expert, dim,
                  static_cast<T*>(to[k]) + b * dim, sum.data(), to_weights + at);
      }
    }
  }
}

}  // namespace

extern "C" {

// masked = grad where out > 0, else 0; transposed (or null) = masked^T; bias (or null) = its column sums.
// `step` is how far apart rows of grad lie; all else is contiguous.
void graphrec_rectify(const void* grad, int64_t step, const void* out, int bf16, int64_t rows,
                      int64_t columns, void* masked, void* transposed, float* bias, int threads) {
  const auto run = [&](auto kind) {
    using T = decltype(kind);
    rectify(static_cast<const T*>(grad), step, static_cast<const T*>(out), rows, columns,
            static_cast<T*>(masked), static_cast<T*>(transposed), bias, threads);
  };
  if (bf16) run(Bf16{}); else run(float{});
}

// Outputs are contiguous [rows, dim], weights float [rows, gates, count], all else `bf16` or float.
void graphrec_mix(const float* weights, const Matrix* experts, int64_t count, int bf16, int64_t rows,
                  int64_t dim, void* const* outs, int64_t gates, int threads) {
  const auto run = bf16 ? mix<Bf16> : mix<float>;
  run(weights, experts, count, rows, dim, outs, gates, threads);
}

void graphrec_unmix(const float* weights, const Matrix* experts, int64_t count, int bf16,
                    int64_t rows, int64_t dim, const Matrix* grads, int64_t gates, void* const* to,
                    float* to_weights, int threads) {
  const auto run = bf16 ? unmix<Bf16> : unmix<float>;
  run(weights, experts, count, rows, dim, grads, gates, to, to_weights, threads);
}

void graphrec_pairs(const float* fields, int64_t stride, int64_t rows, int64_t count, int64_t dim,
                    float* out, float* total, int threads) {
  const auto run = dim == 16 ? pairs<16> : dim == 8 ? pairs<8> : dim == 32 ? pairs<32> : pairs<0>;
  run(fields, stride, rows, count, dim, out, total, threads);
}

void graphrec_pairs_backward(const float* fields, int64_t stride, const float* total,
                             const float* grad, int64_t rows, int64_t count, int64_t dim, float* out,
                             int threads) {
  const auto run = dim == 16   ? pairs_backward<16>
                   : dim == 8  ? pairs_backward<8>
                   : dim == 32 ? pairs_backward<32>
                               : pairs_backward<0>;
  run(fields, stride, total, grad, rows, count, dim, out, threads);
}

}  // extern "C"
