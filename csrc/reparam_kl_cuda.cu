// reparam_kl on CUDA: forward, and backward under it.
//
// One warp a row. A lane takes four neighbouring elements at a time, for which
// one call of Philox suffices, and the lanes' sums are added in a fixed order:
// the same seed gives the same bits on every run.
#include <ATen/Dispatch.h>
#include <ATen/cuda/CUDAGeneratorImpl.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>
#include <ATen/cuda/PhiloxUtils.cuh>

#include <algorithm>
#include <mutex>
#include <tuple>

#include "checks.h"
#include "philox.h"
#include "reparam_kl.h"

namespace {

constexpr int kWarp = 32;
constexpr int kThreads = 128;

// Blocks for one warp a row. The kernels stride over the rows, so that the cap
// on the grid costs nothing but a loop.
unsigned int blocks_for(int64_t rows) {
  constexpr int64_t kRowsPerBlock = kThreads / kWarp;
  const int64_t blocks = (rows + kRowsPerBlock - 1) / kRowsPerBlock;
  return static_cast<unsigned int>(std::min<int64_t>(blocks, 1 << 20));
}

// Calls visit(row) for every row that belongs to this thread's warp.
template <typename Visit>
__device__ void for_each_row(int64_t rows, const Visit& visit) {
  const int64_t warps = int64_t{gridDim.x} * (kThreads / kWarp);
  const int64_t first =
      int64_t{blockIdx.x} * (kThreads / kWarp) + threadIdx.x / kWarp;
  for (int64_t row = first; row < rows; row += warps) {
    visit(row);
  }
}

// Calls visit(i, eps) for every element of a row that belongs to this lane. The
// noise is read from eps, or drawn where eps is null.
template <typename T, typename Visit>
__device__ void for_each_element(int64_t row, int64_t d, const T* eps,
                                 const int64_t* seed_words,
                                 const Visit& visit) {
  using A = Accumulator<T>;
  const Seed seed = {static_cast<uint64_t>(seed_words[0]),
                     static_cast<uint64_t>(seed_words[1])};
  const int64_t begin = row * d;
  const int64_t end = begin + d;
  for (int64_t group = begin / 4 + threadIdx.x % kWarp; 4 * group < end;
       group += kWarp) {
    float drawn[4];
    if (eps == nullptr) {
      const Words words = noise_words(seed, group);
      box_muller(words.w[0], words.w[1], &drawn[0], &drawn[1]);
      box_muller(words.w[2], words.w[3], &drawn[2], &drawn[3]);
    }
    for (int j = 0; j < 4; ++j) {
      const int64_t i = 4 * group + j;
      if (i >= begin && i < end) {
        visit(i, eps == nullptr ? static_cast<A>(drawn[j])
                                : static_cast<A>(eps[i]));
      }
    }
  }
}

// The generator's state may live on the device, where a CUDA graph advances it
// between replays, so it is read there.
__global__ void write_seed(at::PhiloxCudaState state, int64_t* seed) {
  const auto [key, offset] = at::cuda::philox::unpack(state);
  seed[0] = static_cast<int64_t>(key);
  seed[1] = static_cast<int64_t>(offset);
}

template <typename T>
__global__ void forward_kernel(const T* mu, const T* logvar, const T* eps,
                               const int64_t* seed, T* z, T* kl, int64_t rows,
                               int64_t d) {
  using A = Accumulator<T>;
  for_each_row(rows, [=](int64_t row) {
    A sum = 0;
    for_each_element(row, d, eps, seed, [&](int64_t i, A noise) {
      const A m = mu[i];
      const auto half = exponential(static_cast<A>(logvar[i]) / 2);
      z[i] = static_cast<T>(sample(m, half, noise));
      sum += kl_term(m, half);
    });
    for (int lane = kWarp / 2; lane > 0; lane /= 2) {
      sum += __shfl_xor_sync(0xFFFFFFFF, sum, lane);
    }
    if (threadIdx.x % kWarp == 0) {
      kl[row] = static_cast<T>(sum);
    }
  });
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> forward(
    const at::Tensor& mu, const at::Tensor& logvar,
    const std::optional<at::Tensor>& eps,
    const std::optional<at::Generator>& generator) {
  check_inputs(mu, logvar, eps);
  check_generator(mu, eps, generator);
  const c10::cuda::CUDAGuard guard(mu.device());
  const auto stream = c10::cuda::getCurrentCUDAStream();
  const auto m = mu.contiguous();
  const auto v = logvar.contiguous();
  const auto e = eps ? eps->contiguous() : at::Tensor();
  const auto z = at::empty_like(m);
  const auto kl = at::zeros(m.sizes().slice(0, m.dim() - 1), m.options());
  const auto seed = at::zeros({2}, m.options().dtype(at::kLong));
  if (m.numel() == 0) {
    return {z, kl, seed};
  }

  if (!eps) {
    const auto source = at::get_generator_or_default<at::CUDAGeneratorImpl>(
        generator, at::cuda::detail::getDefaultCUDAGenerator());
    at::PhiloxCudaState state;
    {
      const std::lock_guard<std::mutex> lock(source->mutex_);
      state = source->philox_cuda_state(4);
    }
    write_seed<<<1, 1, 0, stream>>>(state, seed.mutable_data_ptr<int64_t>());
    C10_CUDA_KERNEL_LAUNCH_CHECK();
  }
  AT_DISPATCH_FLOATING_TYPES_AND(
      at::kBFloat16, m.scalar_type(), "reparam_kl", [&] {
        using T = scalar_t;
        forward_kernel<T><<<blocks_for(kl.numel()), kThreads, 0, stream>>>(
            m.const_data_ptr<T>(), v.const_data_ptr<T>(),
            eps ? e.const_data_ptr<T>() : nullptr,
            seed.const_data_ptr<int64_t>(), z.mutable_data_ptr<T>(),
            kl.mutable_data_ptr<T>(), kl.numel(), m.size(-1));
        C10_CUDA_KERNEL_LAUNCH_CHECK();
      });
  return {z, kl, seed};
}

template <typename T>
__global__ void backward_kernel(const T* grad_z, const T* grad_kl, const T* mu,
                                const T* logvar, const T* eps,
                                const int64_t* seed, T* grad_mu_out,
                                T* grad_logvar_out, int64_t rows, int64_t d) {
  using A = Accumulator<T>;
  for_each_row(rows, [=](int64_t row) {
    const A gk = grad_kl[row];
    for_each_element(row, d, eps, seed, [&](int64_t i, A noise) {
      const A gz = grad_z[i];
      const A m = mu[i];
      const auto half = exponential(static_cast<A>(logvar[i]) / 2);
      grad_mu_out[i] = static_cast<T>(grad_mu(gz, gk, m));
      grad_logvar_out[i] = static_cast<T>(grad_logvar(gz, gk, half, noise));
    });
  });
}

std::tuple<at::Tensor, at::Tensor> backward(
    const at::Tensor& grad_z, const at::Tensor& grad_kl, const at::Tensor& mu,
    const at::Tensor& logvar, const std::optional<at::Tensor>& eps,
    const at::Tensor& seed) {
  check_backward(grad_z, grad_kl, mu, logvar, eps, seed);
  const c10::cuda::CUDAGuard guard(mu.device());
  const auto stream = c10::cuda::getCurrentCUDAStream();
  const auto gz = grad_z.contiguous();
  const auto gk = grad_kl.contiguous();
  const auto m = mu.contiguous();
  const auto v = logvar.contiguous();
  const auto e = eps ? eps->contiguous() : at::Tensor();
  const auto s = seed.contiguous();
  const auto grad_mu_out = at::empty_like(m);
  const auto grad_logvar_out = at::empty_like(m);
  if (m.numel() == 0) {
    return {grad_mu_out, grad_logvar_out};
  }

  AT_DISPATCH_FLOATING_TYPES_AND(
      at::kBFloat16, m.scalar_type(), "reparam_kl_backward", [&] {
        using T = scalar_t;
        backward_kernel<T><<<blocks_for(gk.numel()), kThreads, 0, stream>>>(
            gz.const_data_ptr<T>(), gk.const_data_ptr<T>(),
            m.const_data_ptr<T>(), v.const_data_ptr<T>(),
            eps ? e.const_data_ptr<T>() : nullptr, s.const_data_ptr<int64_t>(),
            grad_mu_out.mutable_data_ptr<T>(),
            grad_logvar_out.mutable_data_ptr<T>(), gk.numel(), m.size(-1));
        C10_CUDA_KERNEL_LAUNCH_CHECK();
      });
  return {grad_mu_out, grad_logvar_out};
}

// The noise itself, in the shape of `like`: z where mu and logvar are zero.
at::Tensor noise(const at::Tensor& like, const at::Tensor& seed) {
  check_inputs(like, like, std::nullopt);
  check_seed(like, seed);
  const c10::cuda::CUDAGuard guard(like.device());
  const auto s = seed.contiguous();
  const auto zeros = at::zeros(like.sizes(), like.options().dtype(at::kFloat));
  const auto eps = at::empty_like(zeros);
  if (eps.numel() > 0) {
    const int64_t d = like.size(-1);
    const int64_t rows = like.numel() / d;
    const auto kl = at::empty({rows}, zeros.options());
    const float* zero = zeros.const_data_ptr<float>();
    forward_kernel<float>
        <<<blocks_for(rows), kThreads, 0, c10::cuda::getCurrentCUDAStream()>>>(
            zero, zero, nullptr, s.const_data_ptr<int64_t>(),
            eps.mutable_data_ptr<float>(), kl.mutable_data_ptr<float>(), rows,
            d);
    C10_CUDA_KERNEL_LAUNCH_CHECK();
  }
  return eps.to(like.scalar_type());
}

}  // namespace

TORCH_LIBRARY_IMPL(aelab, CUDA, library) {
  library.impl("reparam_kl", forward);
  library.impl("reparam_kl_backward", backward);
  library.impl("reparam_kl_noise", noise);
}
