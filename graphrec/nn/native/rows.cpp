// Rows of packed embedding tables: gather, and optimizers that update the rows of one batch.
//
// A plain C interface over contiguous buffers, called through ctypes; native/__init__.py compiles
// and loads this file. Tables are [num_rows, dim] of float32 or bfloat16, ids and rows int64,
// optimizer state float32. Arithmetic is float32 everywhere; bfloat16 is rounded to nearest even.
// No intrinsics: the compiler vectorises for the processor it finds.
//
// An update sums the gradients of repeated rows, in the order of the batch, then applies the
// optimizer once to every distinct row. Positions are first split into buckets by row, so that a
// row is owned by one thread and what a thread works on stays in its cache; several tables that
// were read at the same rows share the split and the search for repeats. The result does not
// depend on the number of threads.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

#include "numbers.h"

namespace {

using namespace graphrec;

constexpr int64_t kAhead = 16;         // rows prefetched before they are needed
constexpr int64_t kPerBucket = 512;    // positions a bucket holds on average
constexpr int64_t kPage = 6;           // 2^6 rows stay in one bucket: they share pages of memory
constexpr int64_t kLanes = 8;          // partial sums of a row's squares
constexpr uint64_t kGolden = 0x9E3779B97F4A7C15ull;

template <class T>
inline void fetch(const T* at, int64_t count, int write) {
  const char* p = reinterpret_cast<const char*>(at);
  for (int64_t byte = 0; byte < count * static_cast<int64_t>(sizeof(T)); byte += 64) {
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
  float lr, weight_decay, eps, beta2;
  float share1, share2;  // 1 - beta, computed in double: 1.0f - 0.999f is off by 5e-5
};

#define RULE template <class T> static inline __attribute__((always_inline)) void
#define ROW T* __restrict weight, float* __restrict first, float* __restrict second

struct Sgd {
  static constexpr bool kFirst = false, kSecond = false, kRowwise = false;
  RULE apply(const Settings& s, ROW, const float* grad, int64_t dim) {
    (void)first, (void)second;
    for (int64_t d = 0; d < dim; ++d) {
      const float w = load(weight[d]);
      store(weight + d, w - s.lr * (grad[d] + s.weight_decay * w));
    }
  }
};

struct Adagrad {
  static constexpr bool kFirst = true, kSecond = false, kRowwise = false;
  RULE apply(const Settings& s, ROW, const float* grad, int64_t dim) {
    (void)second;
    for (int64_t d = 0; d < dim; ++d) {
      const float w = load(weight[d]), g = grad[d] + s.weight_decay * w;
      const float total = first[d] + g * g;
      first[d] = total;
      store(weight + d, w - s.lr * g / (std::sqrt(total) + s.eps));
    }
  }
};

struct RowwiseAdagrad {
  static constexpr bool kFirst = true, kSecond = false, kRowwise = true;
  RULE apply(const Settings& s, ROW, const float* grad, int64_t dim) {
    (void)second;
    float lanes[kLanes] = {};  // a sum in one order, but not one chain of additions
    int64_t d = 0;
    for (; d + kLanes <= dim; d += kLanes) {
      for (int64_t lane = 0; lane < kLanes; ++lane) {
        const float g = grad[d + lane] + s.weight_decay * load(weight[d + lane]);
        lanes[lane] += g * g;
      }
    }
    for (; d < dim; ++d) {
      const float g = grad[d] + s.weight_decay * load(weight[d]);
      lanes[0] += g * g;
    }
    float squares = 0.0f;
    for (const float lane : lanes) squares += lane;
    const float total = *first + squares / static_cast<float>(dim);
    *first = total;
    const float size = s.lr / (std::sqrt(total) + s.eps);
    for (d = 0; d < dim; ++d) {
      const float w = load(weight[d]);
      store(weight + d, w - size * (grad[d] + s.weight_decay * w));
    }
  }
};

struct Adam {
  static constexpr bool kFirst = true, kSecond = true, kRowwise = false;
  RULE apply(const Settings& s, ROW, const float* grad, int64_t dim) {
    for (int64_t d = 0; d < dim; ++d) {
      const float w = load(weight[d]), g = grad[d] + s.weight_decay * w;
      first[d] += s.share1 * (g - first[d]);
      second[d] = s.beta2 * second[d] + s.share2 * g * g;
      store(weight + d, w - s.lr * first[d] / (std::sqrt(second[d]) + s.eps));
    }
  }
};

// ---- one bucket ----------------------------------------------------------------------------------

struct Scratch {
  std::vector<int32_t> slots;       // hash table: index of a distinct row, or -1
  std::vector<int64_t> rows;        // distinct rows
  std::vector<int32_t> which;       // of each position: its distinct row
  std::vector<const float*> grads;  // gradient of each row: the batch's own, or a sum in `sums`
  std::vector<float> sums;
};

// Fills `rows` and `which` from the positions of a bucket; returns how many rows are distinct.
int64_t find_repeats(const int64_t* rows, const uint32_t* positions, int64_t n, Scratch& scratch) {
  int bits = 4;
  while ((int64_t{1} << bits) < 2 * n) ++bits;
  const uint64_t mask = (uint64_t{1} << bits) - 1;
  scratch.slots.assign(mask + 1, -1);
  scratch.rows.resize(n);
  scratch.which.resize(n);
  int64_t distinct = 0;
  for (int64_t i = 0; i < n; ++i) {
    if (i + kAhead < n) fetch(rows + positions[i + kAhead], 1, 0);
    const int64_t row = rows[positions[i]];
    uint64_t slot = (static_cast<uint64_t>(row) * kGolden) >> (64 - bits);
    int32_t found;
    while ((found = scratch.slots[slot]) >= 0 && scratch.rows[found] != row) slot = (slot + 1) & mask;
    if (found < 0) {
      found = scratch.slots[slot] = static_cast<int32_t>(distinct++);
      scratch.rows[found] = row;
    }
    scratch.which[i] = found;
  }
  return distinct;
}

// The sum of a row's gradients, in the order of the batch; one alone is read where it is.
template <class T, int64_t Known>
void sum_repeats(const T* grads, const uint32_t* positions, int64_t n, int64_t distinct, int64_t wide,
                 Scratch& scratch) {
  const int64_t dim = Known ? Known : wide;
  if (static_cast<int64_t>(scratch.sums.size()) < distinct * dim) scratch.sums.resize(distinct * dim);
  scratch.grads.assign(distinct, nullptr);
  for (int64_t i = 0; i < n; ++i) {
    if (i + kAhead < n) fetch(grads + positions[i + kAhead] * dim, dim, 0);
    const int64_t found = scratch.which[i];
    const T* __restrict grad = grads + positions[i] * dim;
    float* __restrict sum = scratch.sums.data() + found * dim;
    const float* before = scratch.grads[found];
    if (before == nullptr) {
      if constexpr (std::is_same_v<T, float>) {
        scratch.grads[found] = grad;
        continue;
      } else {
        for (int64_t d = 0; d < dim; ++d) sum[d] = load(grad[d]);
      }
    } else if (before == sum) {
      for (int64_t d = 0; d < dim; ++d) sum[d] += load(grad[d]);
    } else {
      for (int64_t d = 0; d < dim; ++d) sum[d] = before[d] + load(grad[d]);
    }
    scratch.grads[found] = sum;
  }
}

struct Table {  // as in native/__init__.py
  void* weight;
  float* first;
  float* second;
  const void* grads;
  int64_t dim;
  int64_t bf16;
  double lr;
  double weight_decay;
};

// `Known` is the width if the compiler shall know it (inner loops become a few vector
// instructions), or 0.
template <class Rule, class T, int64_t Known>
void update_rows(const Table& table, const Settings& s, const uint32_t* positions, int64_t n,
                 int64_t distinct, Scratch& scratch) {
  const int64_t dim = Known ? Known : table.dim;
  const int64_t state = Rule::kRowwise ? 1 : dim;
  sum_repeats<T, Known>(static_cast<const T*>(table.grads), positions, n, distinct, dim, scratch);
  for (int64_t i = 0; i < distinct; ++i) {
    if (i + kAhead < distinct) {
      const int64_t next = scratch.rows[i + kAhead];
      fetch(static_cast<T*>(table.weight) + next * dim, dim, 1);
      if (Rule::kFirst) fetch(table.first + next * state, state, 1);
      if (Rule::kSecond) fetch(table.second + next * state, state, 1);
    }
    const int64_t row = scratch.rows[i];
    T* weight = static_cast<T*>(table.weight) + row * dim;
    float* first = Rule::kFirst ? table.first + row * state : nullptr;
    float* second = Rule::kSecond ? table.second + row * state : nullptr;
    Rule::apply(s, weight, first, second, scratch.grads[i], dim);
  }
}

template <class Rule, class T>
void update_table(const Table& table, const Settings& s, const uint32_t* positions, int64_t n,
                  int64_t distinct, Scratch& scratch) {
  switch (table.dim) {
    case 1: update_rows<Rule, T, 1>(table, s, positions, n, distinct, scratch); break;
    case 8: update_rows<Rule, T, 8>(table, s, positions, n, distinct, scratch); break;
    case 16: update_rows<Rule, T, 16>(table, s, positions, n, distinct, scratch); break;
    case 32: update_rows<Rule, T, 32>(table, s, positions, n, distinct, scratch); break;
    default: update_rows<Rule, T, 0>(table, s, positions, n, distinct, scratch);
  }
}

template <class Rule>
void update(const Table* tables, const Settings* settings, int64_t num_tables, const int64_t* rows,
            int64_t n, int threads) {
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
      const int64_t distinct = find_repeats(rows, positions, size, scratch);
      for (int64_t t = 0; t < num_tables; ++t) {
        if (tables[t].bf16) {
          update_table<Rule, Bf16>(tables[t], settings[t], positions, size, distinct, scratch);
        } else {
          update_table<Rule, float>(tables[t], settings[t], positions, size, distinct, scratch);
        }
      }
    }
  }
}

template <class T, int64_t Known>
void gather(const T* weight, const int64_t* rows, int64_t n, int64_t wide, float* out, int threads) {
  const int64_t dim = Known ? Known : wide;
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t i = 0; i < n; ++i) {
    if (i + kAhead < n) fetch(weight + rows[i + kAhead] * dim, dim, 0);
    const T* __restrict from = weight + rows[i] * dim;
    float* __restrict to = out + i * dim;
    if constexpr (std::is_same_v<T, float>) {
      std::memcpy(to, from, dim * sizeof(float));
    } else {
      for (int64_t d = 0; d < dim; ++d) to[d] = load(from[d]);
    }
  }
}

template <class T>
void gather_any(const T* weight, const int64_t* rows, int64_t n, int64_t dim, float* out, int threads) {
  switch (dim) {
    case 1: gather<T, 1>(weight, rows, n, dim, out, threads); break;
    case 8: gather<T, 8>(weight, rows, n, dim, out, threads); break;
    case 16: gather<T, 16>(weight, rows, n, dim, out, threads); break;
    case 32: gather<T, 32>(weight, rows, n, dim, out, threads); break;
    default: gather<T, 0>(weight, rows, n, dim, out, threads);
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

void graphrec_gather(const void* weight, int bf16, const int64_t* rows, int64_t n, int64_t dim,
                     float* out, int threads) {
  if (bf16) {
    gather_any(static_cast<const Bf16*>(weight), rows, n, dim, out, threads);
  } else {
    gather_any(static_cast<const float*>(weight), rows, n, dim, out, threads);
  }
}

// rule: 0 sgd, 1 adagrad, 2 rowwise_adagrad, 3 adam (lr is then the bias-corrected step size).
// All tables are updated at the same rows.
void graphrec_update(int rule, const Table* tables, int64_t num_tables, const int64_t* rows, int64_t n,
                     double eps, double beta1, double beta2, int threads) {
  const auto f = [](double value) { return static_cast<float>(value); };
  std::vector<Settings> s;
  for (int64_t t = 0; t < num_tables; ++t) {
    s.push_back({f(tables[t].lr), f(tables[t].weight_decay), f(eps), f(beta2), f(1.0 - beta1),
                 f(1.0 - beta2)});
  }
  switch (rule) {
    case 0: update<Sgd>(tables, s.data(), num_tables, rows, n, threads); break;
    case 1: update<Adagrad>(tables, s.data(), num_tables, rows, n, threads); break;
    case 2: update<RowwiseAdagrad>(tables, s.data(), num_tables, rows, n, threads); break;
    default: update<Adam>(tables, s.data(), num_tables, rows, n, threads);
  }
}

}  // extern "C"
