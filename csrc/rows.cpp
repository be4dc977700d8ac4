// The loops of reparam_kl on the CPU: forward, and backward under it.
//
// Plain C++ that compilers turn into SIMD code. The build compiles this file
// once for each instruction set, AELAB_SET, and reparam_kl_cpu.cpp picks one at
// run time. Torch-free, and all in an anonymous namespace: were a function
// shared, the linker might keep its AVX-512 copy for every machine.
//
// A long row is summed in chunks of fixed length, and a chunk in a fixed number
// of lanes, whatever the instruction set: so the bits are the same for all.
#include "rows.h"

#include <algorithm>

#include "lanes.h"
#include "reparam_kl.h"

namespace {

using aelab::BFloat16;
using aelab::Rows;

constexpr int64_t kChunk = 1024;  // elements summed before they join the total
constexpr int64_t kLanes = 16;    // partial sums side by side

// What this file is compiled for.
#if defined(__AVX512F__)
constexpr const char* kSet = "AVX512";
#elif defined(__AVX2__)
constexpr const char* kSet = "AVX2";
#else
constexpr const char* kSet = "DEFAULT";
#endif

template <typename T>
T widen(T x) {
  return x;
}

float widen(BFloat16 x) {
  const uint32_t bits = static_cast<uint32_t>(x) << 16;
  float result;
  std::memcpy(&result, &bits, sizeof result);
  return result;
}

// Rounds to the nearest, to the even one of two; NaN stays NaN.
template <typename T>
T narrow(Accumulator<T> x) {
  if constexpr (std::is_same_v<T, BFloat16>) {
    uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    const uint32_t rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
    return static_cast<BFloat16>(x != x ? 0x7FC0 : rounded);
  } else {
    return x;
  }
}

// Room for the noise of a chunk that begins within a group, drawn by kGroups.
struct Noise {
  float value[kChunk + 4 + 4 * kGroups];
};

// The noise of elements first ... first + n - 1, n <= kChunk.
const float* draw(Seed seed, int64_t first, int64_t n, Noise* noise) {
  const int64_t begin = first / 4, end = (first + n + 3) / 4;
  for (int64_t group = begin; group < end; group += kGroups) {
    uint32_t word[4][kGroups];
    words_of_groups(seed, group, word);
    float normal[4][kGroups];
    for (int j = 0; j < 4; j += 2) {
      for (int i = 0; i < kGroups; ++i) {
        box_muller(word[j][i], word[j + 1][i], &normal[j][i],
                   &normal[j + 1][i]);
      }
    }
    float* out = noise->value + 4 * (group - begin);
    for (int i = 0; i < kGroups; ++i) {
      for (int j = 0; j < 4; ++j) {
        out[4 * i + j] = normal[j][i];
      }
    }
  }
  return noise->value + (first - 4 * begin);
}

// Calls visit(row, rows, first, n, eps) for every chunk: `rows` whole rows as
// far as they fit, or a part of one. Its n elements begin at `first`, and eps
// points at their noise: the given one, of type T, or the drawn one.
template <typename T, typename Visit>
void for_each_chunk(const Rows<T>& x, int64_t begin, int64_t end,
                    const Visit& visit) {
  const int64_t fit = kChunk / x.d;
  // A multiple of four, so that no chunk begins within a group of the noise.
  const int64_t step = fit >= 4 ? fit / 4 * 4 : std::max<int64_t>(fit, 1);
  Seed seed = {};
  if (x.eps == nullptr) {
    seed = {static_cast<uint64_t>(x.seed[0]), static_cast<uint64_t>(x.seed[1])};
  }
  Noise noise;
  for (int64_t row = begin; row < end; row += step) {
    const int64_t rows = std::min(step, end - row), last = (row + rows) * x.d;
    for (int64_t first = row * x.d; first < last; first += kChunk) {
      const int64_t n = std::min(kChunk, last - first);
      if (x.eps != nullptr) {
        visit(row, rows, first, n, x.eps + first);
      } else {
        visit(row, rows, first, n, draw(seed, first, n, &noise));
      }
    }
  }
}

// Adds n <= kChunk numbers: lane by lane, and then the lanes in pairs.
template <typename A>
A sum(const A* x, int64_t n) {
  A total = 0;
  int64_t i = 0;
  if (n >= kLanes) {
    A lane[kLanes] = {};
    for (; i + kLanes <= n; i += kLanes) {
      for (int64_t j = 0; j < kLanes; ++j) {
        lane[j] += x[i + j];
      }
    }
    for (int64_t width = kLanes / 2; width > 0; width /= 2) {
      for (int64_t j = 0; j < width; ++j) {
        lane[j] += lane[j + width];
      }
    }
    total = lane[0];
  }
  for (; i < n; ++i) {
    total += x[i];
  }
  return total;
}

// Calls visit(row, D) for every row, D the length of a row. Where it is one of
// a few, compilers know it, and work on many rows at a time.
template <typename Visit>
void for_each_row(int64_t rows, int64_t d, const Visit& visit) {
  const auto loop = [&](auto length) {
    for (int64_t row = 0; row < rows; ++row) {
      visit(row, length);
    }
  };
  switch (d) {
    case 1:
      return loop(std::integral_constant<int64_t, 1>());
    case 2:
      return loop(std::integral_constant<int64_t, 2>());
    case 4:
      return loop(std::integral_constant<int64_t, 4>());
    case 8:
      return loop(std::integral_constant<int64_t, 8>());
    default:
      return loop(d);
  }
}

// z = mu + std eps, and the terms of the KL.
template <typename T, typename E, typename A>
void forward_chunk(const T* mu, const T* logvar, const E* eps, T* __restrict z,
                   A* __restrict term, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const A m = widen(mu[i]);
    const auto half = exponential(widen(logvar[i]) / 2);
    z[i] = narrow<T>(sample(m, half, static_cast<A>(widen(eps[i]))));
    term[i] = kl_term(m, half);
  }
}

template <typename T>
void forward(const Rows<T>& x, int64_t begin, int64_t end) {
  using A = Accumulator<T>;
  double total = 0;
  for_each_chunk(x, begin, end,
                 [&](int64_t row, int64_t rows, int64_t first, int64_t n,
                     const auto* eps) {
                   A term[kChunk];
                   forward_chunk(x.mu + first, x.logvar + first, eps,
                                 x.z + first, term, n);
                   if (x.d <= kChunk) {
                     for_each_row(rows, x.d, [&](int64_t i, auto d) {
                       x.kl[row + i] = narrow<T>(sum(term + i * d, d));
                     });
                     return;
                   }
                   total = (first == row * x.d ? 0 : total) + sum(term, n);
                   x.kl[row] = narrow<T>(static_cast<A>(total));
                 });
}

// dL/dmu and dL/dlogvar.
template <typename T, typename E, typename A>
void backward_chunk(const T* grad_z, const A* grad_kl, const T* mu,
                    const T* logvar, const E* eps, T* __restrict grad_mu_out,
                    T* __restrict grad_logvar_out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const A gz = widen(grad_z[i]), m = widen(mu[i]);
    const auto half = exponential(widen(logvar[i]) / 2);
    const A noise = static_cast<A>(widen(eps[i]));
    grad_mu_out[i] = narrow<T>(grad_mu(gz, grad_kl[i], m));
    grad_logvar_out[i] = narrow<T>(grad_logvar(gz, grad_kl[i], half, noise));
  }
}

template <typename T>
void backward(const Rows<T>& x, int64_t begin, int64_t end) {
  for_each_chunk(x, begin, end,
                 [&](int64_t row, int64_t rows, int64_t first, int64_t n,
                     const auto* eps) {
                   Accumulator<T> grad_kl[kChunk];  // one for every element
                   for_each_row(rows, n / rows, [&](int64_t i, auto d) {
                     std::fill_n(grad_kl + i * d, static_cast<int64_t>(d),
                                 widen(x.grad_kl[row + i]));
                   });
                   backward_chunk(x.grad_z + first, grad_kl, x.mu + first,
                                  x.logvar + first, eps, x.grad_mu + first,
                                  x.grad_logvar + first, n);
                 });
}

}  // namespace

const aelab::Kernels aelab::AELAB_SET = {
    {forward<float>, backward<float>},
    {forward<double>, backward<double>},
    {forward<BFloat16>, backward<BFloat16>},
    kSet};
