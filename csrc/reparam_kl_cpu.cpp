// reparam_kl on the CPU: forward, and backward under it.
//
// Rows are shared out among threads and never split; a long row is summed in
// chunks of fixed length, and a chunk in a fixed number of lanes. So the order
// of every sum is the same for one thread and for many, and so are the bits.
#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <algorithm>
#include <cstdint>
#include <tuple>

#include "checks.h"
#include "philox.h"
#include "reparam_kl.h"

namespace {

constexpr int64_t kChunk = 1024;  // elements summed before they join the total
constexpr int64_t kLanes = 16;    // partial sums side by side, for SIMD
constexpr int64_t kGrain = 8192;  // elements that are worth a thread

Seed read_seed(const at::Tensor& seed) {
  const auto s = seed.contiguous();
  const int64_t* words = s.const_data_ptr<int64_t>();
  return {static_cast<uint64_t>(words[0]), static_cast<uint64_t>(words[1])};
}

// Drawn noise, in blocks, for a walk through the elements up to `end`.
class Noise {
 public:
  Noise(Seed seed, int64_t end) : seed_(seed), end_(end) {}

  // The noise of elements first ... first + n - 1, n <= kChunk.
  const float* at(int64_t first, int64_t n) {
    if (first + n > block_end_) {
      draw(first);
    }
    return block_ + (first - block_begin_);
  }

 private:
  void draw(int64_t first) {
    const int64_t begin = first / 4;
    const int64_t groups = std::min(kChunk / 4 + 1, (end_ + 3) / 4 - begin);
    uint32_t word[kChunk + 4];
    for (int64_t group = 0; group < groups; ++group) {
      std::copy_n(noise_words(seed_, begin + group).w, 4, word + 4 * group);
    }
    for (int64_t i = 0; i < 4 * groups; i += 2) {
      box_muller(word[i], word[i + 1], &block_[i], &block_[i + 1]);
    }
    block_begin_ = 4 * begin;
    block_end_ = 4 * (begin + groups);
  }

  const Seed seed_;
  const int64_t end_;
  int64_t block_begin_ = 0;
  int64_t block_end_ = 0;
  float block_[kChunk + 4];
};

// Calls visit(row, noise) for every row, in parallel.
template <typename Visit>
void for_each_row(int64_t rows, int64_t d, Seed seed, const Visit& visit) {
  const int64_t grain = std::max<int64_t>(1, kGrain / d);
  at::parallel_for(0, rows, grain, [&](int64_t begin, int64_t end) {
    Noise noise(seed, end * d);
    for (int64_t row = begin; row < end; ++row) {
      visit(row, noise);
    }
  });
}

// Calls visit(first, n, eps) for every chunk of a row. eps points at the noise
// of element `first`: the given one, of type T, or the drawn one.
template <typename T, typename Visit>
void for_each_chunk(int64_t row, int64_t d, const T* eps, Noise& noise,
                    const Visit& visit) {
  const int64_t end = (row + 1) * d;
  for (int64_t first = row * d; first < end; first += kChunk) {
    const int64_t n = std::min(kChunk, end - first);
    if (eps != nullptr) {
      visit(first, n, eps + first);
    } else {
      visit(first, n, noise.at(first, n));
    }
  }
}

// Adds n <= kChunk numbers, lane by lane, then the lanes in pairs.
template <typename A>
A sum_in_lanes(const A* x, int64_t n) {
  A lane[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int64_t j = 0; j < kLanes; ++j) {
      lane[j] += x[i + j];
    }
  }
  for (int64_t j = 0; i + j < n; ++j) {
    lane[j] += x[i + j];
  }
  for (int64_t width = kLanes / 2; width > 0; width /= 2) {
    for (int64_t j = 0; j < width; ++j) {
      lane[j] += lane[j + width];
    }
  }
  return lane[0];
}

// Writes z of n <= kChunk elements and returns the sum of their KL terms.
template <typename T, typename E>
Accumulator<T> forward_chunk(const T* mu, const T* logvar, const E* eps, T* z,
                             int64_t n) {
  using A = Accumulator<T>;
  A term[kChunk];
  for (int64_t i = 0; i < n; ++i) {
    const A m = mu[i];
    const auto half = exponential(static_cast<A>(logvar[i]) / 2);
    z[i] = static_cast<T>(sample(m, half, static_cast<A>(eps[i])));
    term[i] = kl_term(m, half);
  }
  return sum_in_lanes(term, n);
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> forward(
    const at::Tensor& mu, const at::Tensor& logvar,
    const std::optional<at::Tensor>& eps,
    const std::optional<at::Generator>& generator) {
  check_inputs(mu, logvar, eps);
  check_generator(mu, eps, generator);
  const auto m = mu.contiguous();
  const auto v = logvar.contiguous();
  const auto e = eps ? eps->contiguous() : at::Tensor();
  const auto z = at::empty_like(m);
  const auto kl = at::zeros(m.sizes().slice(0, m.dim() - 1), m.options());

  // randint holds the generator's mutex. A given eps leaves the generator be.
  const auto words = m.options().dtype(at::kLong);
  const auto seed =
      eps ? at::zeros({2}, words)
          : at::randint(INT64_MIN, INT64_MAX, {2}, generator, words);

  if (m.numel() > 0) {
    const int64_t d = m.size(-1);
    AT_DISPATCH_FLOATING_TYPES_AND(
        at::kBFloat16, m.scalar_type(), "reparam_kl", [&] {
          using T = scalar_t;
          const T* mu_ptr = m.const_data_ptr<T>();
          const T* logvar_ptr = v.const_data_ptr<T>();
          const T* eps_ptr = eps ? e.const_data_ptr<T>() : nullptr;
          T* z_ptr = z.mutable_data_ptr<T>();
          T* kl_ptr = kl.mutable_data_ptr<T>();
          for_each_row(
              kl.numel(), d, read_seed(seed), [&](int64_t row, Noise& noise) {
                double total = 0;
                for_each_chunk(
                    row, d, eps_ptr, noise,
                    [&](int64_t first, int64_t n, const auto* noise_ptr) {
                      total += forward_chunk(mu_ptr + first, logvar_ptr + first,
                                             noise_ptr, z_ptr + first, n);
                    });
                kl_ptr[row] = static_cast<T>(total);
              });
        });
  }
  return {z, kl, seed};
}

// Writes the gradients of n elements of one row.
template <typename T, typename E>
void backward_chunk(const T* grad_z, T grad_kl, const T* mu, const T* logvar,
                    const E* eps, T* grad_mu_out, T* grad_logvar_out,
                    int64_t n) {
  using A = Accumulator<T>;
  const A gk = grad_kl;
  for (int64_t i = 0; i < n; ++i) {
    const A gz = grad_z[i];
    const A m = mu[i];
    const auto half = exponential(static_cast<A>(logvar[i]) / 2);
    grad_mu_out[i] = static_cast<T>(grad_mu(gz, gk, m));
    grad_logvar_out[i] =
        static_cast<T>(grad_logvar(gz, gk, half, static_cast<A>(eps[i])));
  }
}

std::tuple<at::Tensor, at::Tensor> backward(
    const at::Tensor& grad_z, const at::Tensor& grad_kl, const at::Tensor& mu,
    const at::Tensor& logvar, const std::optional<at::Tensor>& eps,
    const at::Tensor& seed) {
  check_backward(grad_z, grad_kl, mu, logvar, eps, seed);
  const auto gz = grad_z.contiguous();
  const auto gk = grad_kl.contiguous();
  const auto m = mu.contiguous();
  const auto v = logvar.contiguous();
  const auto e = eps ? eps->contiguous() : at::Tensor();
  const auto grad_mu_out = at::empty_like(m);
  const auto grad_logvar_out = at::empty_like(m);
  if (m.numel() > 0) {
    const int64_t d = m.size(-1);
    AT_DISPATCH_FLOATING_TYPES_AND(
        at::kBFloat16, m.scalar_type(), "reparam_kl_backward", [&] {
          using T = scalar_t;
          const T* gz_ptr = gz.const_data_ptr<T>();
          const T* gk_ptr = gk.const_data_ptr<T>();
          const T* mu_ptr = m.const_data_ptr<T>();
          const T* logvar_ptr = v.const_data_ptr<T>();
          const T* eps_ptr = eps ? e.const_data_ptr<T>() : nullptr;
          T* gmu_ptr = grad_mu_out.mutable_data_ptr<T>();
          T* glogvar_ptr = grad_logvar_out.mutable_data_ptr<T>();
          for_each_row(
              gk.numel(), d, read_seed(seed), [&](int64_t row, Noise& noise) {
                for_each_chunk(
                    row, d, eps_ptr, noise,
                    [&](int64_t first, int64_t n, const auto* noise_ptr) {
                      backward_chunk(gz_ptr + first, gk_ptr[row],
                                     mu_ptr + first, logvar_ptr + first,
                                     noise_ptr, gmu_ptr + first,
                                     glogvar_ptr + first, n);
                    });
              });
        });
  }
  return {grad_mu_out, grad_logvar_out};
}

// The noise itself, in the shape of `like`: z where mu and logvar are zero.
at::Tensor noise(const at::Tensor& like, const at::Tensor& seed) {
  check_inputs(like, like, std::nullopt);
  check_seed(like, seed);
  const auto eps = at::empty(like.sizes(), like.options().dtype(at::kFloat));
  if (eps.numel() > 0) {
    const int64_t d = like.size(-1);
    float* out = eps.mutable_data_ptr<float>();
    for_each_row(like.numel() / d, d, read_seed(seed),
                 [&](int64_t row, Noise& noise) {
                   for_each_chunk<float>(
                       row, d, nullptr, noise,
                       [&](int64_t first, int64_t n, const float* drawn) {
                         std::copy_n(drawn, n, out + first);
                       });
                 });
  }
  return eps.to(like.scalar_type());
}

}  // namespace

TORCH_LIBRARY_IMPL(aelab, CPU, library) {
  library.impl("reparam_kl", forward);
  library.impl("reparam_kl_backward", backward);
  library.impl("reparam_kl_noise", noise);
}
