// Rows of packed embedding tables: gather, and optimizers that update the rows of one batch.
//
// A plain C interface over contiguous buffers, called through ctypes; native/__init__.py compiles
// and loads this file. Tables are float32 [num_rows, dim], ids and rows int64.
//
// An update sums the gradients of repeated rows, in the order of the batch, then applies the
// optimizer once to every distinct row. Positions are first split into buckets by row, so that a
// row is owned by one thread and what a thread works on stays in its cache. The result does not
// depend on the number of threads.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

constexpr int64_t kAhead = 16;         // rows prefetched before they are needed
constexpr int64_t kPerBucket = 512;    // positions a bucket holds on average
constexpr int64_t kPage = 6;           // 2^6 rows stay in one bucket: they share pages of memory
constexpr uint64_t kGolden = 0x9E3779B97F4A7C15ull;

inline void fetch(const float* at, int64_t dim, int write) {
  const char* p = reinterpret_cast<const char*>(at);
  for (int64_t byte = 0; byte < dim * 4; byte += 64) {
    if (write) __builtin_prefetch(p + byte, 1); else __builtin_prefetch(p + byte, 0);
  }
}

// ---- buckets -------------------------------------------------------------------------------------

struct Buckets {
  std::vector<uint32_t> positions;  // of all buckets, in the order of the batch within each
  std::vector<int64_t> begin;       // first position of each bucket, and the end
};

inline int bits_for(int64_t positions) {
  int bits = 0;
  while (bits < 14 && (positions >> bits) > kPerBucket) ++bits;
  return bits;
}

inline uint64_t bucket_of(int64_t row, int bits) {
  return bits == 0 ? 0 : (static_cast<uint64_t>(row >> kPage) * kGolden) >> (64 - bits);
}

Buckets split(const int64_t* rows, int64_t n, int threads) {
  const int bits = bits_for(n);
  const int64_t count = int64_t{1} << bits;
  Buckets made{std::vector<uint32_t>(n), std::vector<int64_t>(count + 1, 0)};
  std::vector<int64_t> at(count * threads, 0);  // per thread: how many, then where to write
  const int64_t chunk = (n + threads - 1) / threads;
#pragma omp parallel for num_threads(threads) schedule(static, 1)
  for (int t = 0; t < threads; ++t) {
    int64_t* mine = &at[t * count];
    for (int64_t i = t * chunk; i < std::min(n, (t + 1) * chunk); ++i) ++mine[bucket_of(rows[i], bits)];
  }
  int64_t total = 0;
  for (int64_t bucket = 0; bucket < count; ++bucket) {
    made.begin[bucket] = total;
    for (int t = 0; t < threads; ++t) {
      const int64_t here = at[t * count + bucket];
      at[t * count + bucket] = total;
      total += here;
    }
  }
  made.begin[count] = total;
#pragma omp parallel for num_threads(threads) schedule(static, 1)
  for (int t = 0; t < threads; ++t) {
    int64_t* mine = &at[t * count];
    for (int64_t i = t * chunk; i < std::min(n, (t + 1) * chunk); ++i) {
      made.positions[mine[bucket_of(rows[i], bits)]++] = static_cast<uint32_t>(i);
    }
  }
  return made;
}

// ---- optimizers: one row -------------------------------------------------------------------------

struct Settings {
  float* weight;
  float* first;   // sum (adagrad [R, dim], rowwise [R, 1]) or exp_avg
  float* second;  // exp_avg_sq
  float lr, weight_decay, eps, beta2;
  float share1, share2;  // 1 - beta, computed in double: 1.0f - 0.999f is off by 5e-5
};

struct Sgd {
  static void fetch_state(const Settings&, int64_t, int64_t) {}
  static inline __attribute__((always_inline)) void apply(const Settings& s, int64_t row, const float* grad, int64_t dim) {
    float* w = s.weight + row * dim;
    for (int64_t d = 0; d < dim; ++d) w[d] -= s.lr * (grad[d] + s.weight_decay * w[d]);
  }
};

struct Adagrad {
  static void fetch_state(const Settings& s, int64_t row, int64_t dim) { fetch(s.first + row * dim, dim, 1); }
  static inline __attribute__((always_inline)) void apply(const Settings& s, int64_t row, const float* grad, int64_t dim) {
    float* __restrict w = s.weight + row * dim;
    float* __restrict sum = s.first + row * dim;
    for (int64_t d = 0; d < dim; ++d) {
      const float g = grad[d] + s.weight_decay * w[d];
      const float total = sum[d] + g * g;
      sum[d] = total;
      w[d] -= s.lr * g / (std::sqrt(total) + s.eps);
    }
  }
};

struct RowwiseAdagrad {
  static void fetch_state(const Settings& s, int64_t row, int64_t) { fetch(s.first + row, 1, 1); }
  static inline __attribute__((always_inline)) void apply(const Settings& s, int64_t row, const float* grad, int64_t dim) {
    float* w = s.weight + row * dim;
    float squares = 0.0f;
    for (int64_t d = 0; d < dim; ++d) {
      const float g = grad[d] + s.weight_decay * w[d];
      squares += g * g;
    }
    const float total = s.first[row] + squares / static_cast<float>(dim);
    s.first[row] = total;
    const float size = s.lr / (std::sqrt(total) + s.eps);
    for (int64_t d = 0; d < dim; ++d) w[d] -= size * (grad[d] + s.weight_decay * w[d]);
  }
};

struct Adam {
  static void fetch_state(const Settings& s, int64_t row, int64_t dim) {
    fetch(s.first + row * dim, dim, 1);
    fetch(s.second + row * dim, dim, 1);
  }
  static inline __attribute__((always_inline)) void apply(const Settings& s, int64_t row, const float* grad, int64_t dim) {
    float* __restrict w = s.weight + row * dim;
    float* __restrict mean = s.first + row * dim;
    float* __restrict square = s.second + row * dim;
    for (int64_t d = 0; d < dim; ++d) {
      const float g = grad[d] + s.weight_decay * w[d];
      mean[d] += s.share1 * (g - mean[d]);
      square[d] = s.beta2 * square[d] + s.share2 * g * g;
      w[d] -= s.lr * mean[d] / (std::sqrt(square[d]) + s.eps);
    }
  }
};

// ---- one bucket ----------------------------------------------------------------------------------

struct Scratch {
  std::vector<int32_t> slots;         // hash table: index of a distinct row, or -1
  std::vector<int64_t> rows;          // distinct rows
  std::vector<const float*> grads;    // gradient of each: the batch's own, or a sum in `sums`
  std::vector<float> sums;
};

// `Known` is the width if the compiler shall know it (inner loops become a few vector
// instructions), or 0.
template <class Rule, int64_t Known>
void update_bucket(const Settings& s, const int64_t* rows, const float* grads, const uint32_t* positions,
                   int64_t n, int64_t wide, Scratch& scratch) {
  const int64_t dim = Known ? Known : wide;
  int bits = 4;
  while ((int64_t{1} << bits) < 2 * n) ++bits;
  const uint64_t mask = (uint64_t{1} << bits) - 1;
  scratch.slots.assign(mask + 1, -1);
  scratch.rows.resize(n);
  scratch.grads.resize(n);
  if (static_cast<int64_t>(scratch.sums.size()) < n * dim) scratch.sums.resize(n * dim);
  int64_t distinct = 0;
  for (int64_t i = 0; i < n; ++i) {
    if (i + kAhead < n) fetch(grads + positions[i + kAhead] * dim, dim, 0);
    const int64_t row = rows[positions[i]];
    const float* grad = grads + positions[i] * dim;
    uint64_t slot = (static_cast<uint64_t>(row) * kGolden) >> (64 - bits);
    int32_t found;
    while ((found = scratch.slots[slot]) >= 0 && scratch.rows[found] != row) slot = (slot + 1) & mask;
    if (found < 0) {
      scratch.slots[slot] = static_cast<int32_t>(distinct);
      scratch.rows[distinct] = row;
      scratch.grads[distinct] = grad;
      ++distinct;
      continue;
    }
    float* __restrict sum = scratch.sums.data() + found * dim;
    const float* __restrict before = scratch.grads[found];
    if (before != sum) {
      for (int64_t d = 0; d < dim; ++d) sum[d] = before[d] + grad[d];
      scratch.grads[found] = sum;
    } else {
      for (int64_t d = 0; d < dim; ++d) sum[d] += grad[d];
    }
  }
  for (int64_t i = 0; i < distinct; ++i) {
    if (i + kAhead < distinct) {
      const int64_t next = scratch.rows[i + kAhead];
      fetch(s.weight + next * dim, dim, 1);
      Rule::fetch_state(s, next, dim);
    }
    Rule::apply(s, scratch.rows[i], scratch.grads[i], dim);
  }
}

template <class Rule>
void update(const Settings& s, const int64_t* rows, const float* grads, int64_t n, int64_t dim, int threads) {
  const Buckets buckets = split(rows, n, threads);
  const int64_t count = static_cast<int64_t>(buckets.begin.size()) - 1;
#pragma omp parallel num_threads(threads)
  {
    Scratch scratch;
#pragma omp for schedule(dynamic, 1)
    for (int64_t bucket = 0; bucket < count; ++bucket) {
      const int64_t begin = buckets.begin[bucket], size = buckets.begin[bucket + 1] - begin;
      if (size == 0) continue;
      const uint32_t* positions = buckets.positions.data() + begin;
      switch (dim) {
        case 1: update_bucket<Rule, 1>(s, rows, grads, positions, size, dim, scratch); break;
        case 8: update_bucket<Rule, 8>(s, rows, grads, positions, size, dim, scratch); break;
        case 16: update_bucket<Rule, 16>(s, rows, grads, positions, size, dim, scratch); break;
        case 32: update_bucket<Rule, 32>(s, rows, grads, positions, size, dim, scratch); break;
        default: update_bucket<Rule, 0>(s, rows, grads, positions, size, dim, scratch);
      }
    }
  }
}

template <int64_t Known>
void gather(const float* weight, const int64_t* rows, int64_t n, int64_t wide, float* out, int threads) {
  const int64_t dim = Known ? Known : wide;
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t i = 0; i < n; ++i) {
    if (i + kAhead < n) fetch(weight + rows[i + kAhead] * dim, dim, 0);
    std::memcpy(out + i * dim, weight + rows[i] * dim, dim * sizeof(float));
  }
}

}  // namespace

extern "C" {

// rows[i, f] = ids[f][i] + first[f]; returns a column with a row outside first..end, or -1.
int64_t graphrec_rows(const int64_t* const* ids, int64_t n, int64_t columns, const int64_t* first,
                      const int64_t* end, int64_t* out, int threads) {
  constexpr int64_t kBlock = 64;
  int64_t wrong = -1;
#pragma omp parallel for num_threads(threads) schedule(static) reduction(max : wrong)
  for (int64_t block = 0; block < (n + kBlock - 1) / kBlock; ++block) {
    const int64_t from = block * kBlock, to = std::min(n, from + kBlock);
    for (int64_t f = 0; f < columns; ++f) {
      const uint64_t size = static_cast<uint64_t>(end[f] - first[f]);
      bool bad = false;
      for (int64_t i = from; i < to; ++i) {
        bad |= static_cast<uint64_t>(ids[f][i]) >= size;
        out[i * columns + f] = ids[f][i] + first[f];
      }
      if (bad) wrong = std::max(wrong, f);
    }
  }
  return wrong;
}

void graphrec_gather(const float* weight, const int64_t* rows, int64_t n, int64_t dim, float* out,
                     int threads) {
  switch (dim) {
    case 1: gather<1>(weight, rows, n, dim, out, threads); break;
    case 8: gather<8>(weight, rows, n, dim, out, threads); break;
    case 16: gather<16>(weight, rows, n, dim, out, threads); break;
    case 32: gather<32>(weight, rows, n, dim, out, threads); break;
    default: gather<0>(weight, rows, n, dim, out, threads);
  }
}

// rule: 0 sgd, 1 adagrad, 2 rowwise_adagrad, 3 adam (lr is then the bias-corrected step size).
void graphrec_update(int rule, float* weight, float* first, float* second, const int64_t* rows,
                     const float* grads, int64_t n, int64_t dim, double lr, double weight_decay,
                     double eps, double beta1, double beta2, int threads) {
  const auto f = [](double value) { return static_cast<float>(value); };
  const Settings s{weight, first,     second,        f(lr),         f(weight_decay),
                   f(eps), f(beta2), f(1.0 - beta1), f(1.0 - beta2)};
  switch (rule) {
    case 0: update<Sgd>(s, rows, grads, n, dim, threads); break;
    case 1: update<Adagrad>(s, rows, grads, n, dim, threads); break;
    case 2: update<RowwiseAdagrad>(s, rows, grads, n, dim, threads); break;
    default: update<Adam>(s, rows, grads, n, dim, threads);
  }
}

}  // extern "C"
