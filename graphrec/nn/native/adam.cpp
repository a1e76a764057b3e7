// Adam and AdamW over all dense parameters in one parallel pass; interface as in rows.cpp.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace {

constexpr int64_t kChunk = 16384;  // numbers that one thread takes at a time

struct Parameter {
  float* weight;
  const float* grad;
  float* mean;    // of gradients
  float* square;  // mean of their squares
  int64_t count;
  double step_size;  // lr / (1 - beta1^t)
  double scale;      // sqrt(1 - beta2^t)
};

struct Chunk {
  const Parameter* parameter;
  int64_t from, to;
};

struct Settings {
  float decay;       // times lr if decoupled
  float eps, beta2;
  float rest1, rest2;  // 1 - beta, exact before it is rounded
};

template <bool Decoupled>
void update(const Chunk& chunk, const Settings& s) {
  const Parameter& p = *chunk.parameter;
  const float step_size = static_cast<float>(p.step_size);
  const float inverse = static_cast<float>(1.0 / p.scale);
  float* __restrict weight = p.weight;
  const float* __restrict grad = p.grad;
  float* __restrict mean = p.mean;
  float* __restrict square = p.square;
  for (int64_t i = chunk.from; i < chunk.to; ++i) {
    float w = weight[i], g = grad[i];
    if (Decoupled) w -= s.decay * w; else g += s.decay * w;
    const float m = mean[i] + s.rest1 * (g - mean[i]);
    const float v = s.beta2 * square[i] + s.rest2 * g * g;
    mean[i] = m;
    square[i] = v;
    weight[i] = w - step_size * m / (std::sqrt(v) * inverse + s.eps);
  }
}

}  // namespace

extern "C" {

// Decay is AdamW's if `decoupled`, else it is added to the gradient.
void graphrec_adam(const Parameter* parameters, int64_t count, double lr, double decay, int decoupled,
                   double beta1, double beta2, double eps, int threads) {
  const auto f = [](double value) { return static_cast<float>(value); };
  std::vector<Chunk> chunks;
  for (const Parameter* p = parameters; p < parameters + count; ++p) {
    for (int64_t from = 0; from < p->count; from += kChunk) {
      chunks.push_back({p, from, std::min(p->count, from + kChunk)});
    }
  }
  const Settings s{f(decoupled ? lr * decay : decay), f(eps), f(beta2), f(1.0 - beta1),
                   f(1.0 - beta2)};
  const auto run = decoupled ? update<true> : update<false>;
#pragma omp parallel for num_threads(threads) schedule(dynamic)
  for (size_t i = 0; i < chunks.size(); ++i) {
    run(chunks[i], s);
  }
}

}  // extern "C"
