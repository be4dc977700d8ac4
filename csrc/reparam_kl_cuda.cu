// reparam_kl on CUDA: forward, and backward under it.
//
// A row belongs to 1, 4 or 32 neighbouring threads, or to a whole block where
// it is long. A thread takes packs of elements, which it loads and stores 16
// bytes at a time, and for four of which one call of Philox suffices. The
// threads' sums are added in a fixed order: the same seed gives the same bits
// every time.
#include <ATen/cuda/CUDAGeneratorImpl.h>
#include <ATen/ops/empty.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>
#include <ATen/cuda/PhiloxUtils.cuh>

#include <algorithm>
#include <mutex>

#include "op.h"
#include "philox.h"
#include "reparam_kl.h"

namespace {

using aelab::Rows;
constexpr int kBlock = 256, kWarp = 32;
constexpr int64_t kMaxBlocks = 1 << 20;

// Elements whose indices begin at a multiple of four: 16 bytes, 32 of double.
template <typename T>
constexpr int kPack = sizeof(T) == 2 ? 8 : 4;

template <typename T>
struct alignas(16) Pack {
  T value[kPack<T>];
};

// The part of a pack, lo <= j < hi, that belongs to the row. A whole pack moves
// at once, where the memory that it lies in begins at a multiple of 16 bytes.
template <typename T>
struct Part {
  int64_t first;
  int lo, hi;

  __device__ bool moves_at_once(const T* x) const {
    return lo == 0 && hi == kPack<T> &&
           reinterpret_cast<uintptr_t>(x) % 16 == 0;
  }

  __device__ Pack<T> load(const T* x) const {
    if (moves_at_once(x)) {
      return *reinterpret_cast<const Pack<T>*>(x + first);
    }
    Pack<T> pack = {};
#pragma unroll  // and so the pack stays in registers
    for (int j = 0; j < kPack<T>; ++j) {
      if (lo <= j && j < hi) pack.value[j] = x[first + j];
    }
    return pack;
  }

  __device__ void store(T* x, const Pack<T>& pack) const {
    if (moves_at_once(x)) {
      *reinterpret_cast<Pack<T>*>(x + first) = pack;
      return;
    }
#pragma unroll
    for (int j = 0; j < kPack<T>; ++j) {
      if (lo <= j && j < hi) x[first + j] = pack.value[j];
    }
  }
};

// The noise of a pack: the given one, or drawn where eps is null.
template <typename T>
__device__ void load_noise(const Rows<T>& x, const Part<T>& part,
                           Accumulator<T> (&noise)[kPack<T>]) {
  if (x.eps != nullptr) {
    const auto eps = part.load(x.eps);
    for (int j = 0; j < kPack<T>; ++j) noise[j] = eps.value[j];
    return;
  }
  const Seed seed = {static_cast<uint64_t>(x.seed[0]),
                     static_cast<uint64_t>(x.seed[1])};
  for (int j = 0; j < kPack<T>; j += 4) {
    const Words words = noise_words(seed, (part.first + j) / 4);
    float normal[4];
    box_muller(words.w[0], words.w[1], &normal[0], &normal[1]);
    box_muller(words.w[2], words.w[3], &normal[2], &normal[3]);
    for (int i = 0; i < 4; ++i) noise[j + i] = normal[i];
  }
}

// Calls visit(part) for the packs of a row that belong to this thread.
template <typename T, int kThreads, typename Visit>
__device__ void for_each_part(int64_t row, int64_t d, const Visit& visit) {
  const int64_t begin = row * d, end = begin + d;
  int64_t first = (begin / kPack<T> + threadIdx.x % kThreads) * kPack<T>;
  for (; first < end; first += kThreads * kPack<T>) {
    visit(Part<T>{first, static_cast<int>(max(begin - first, int64_t{0})),
                  static_cast<int>(min(end - first, int64_t{kPack<T>}))});
  }
}

// The sum over the threads of a row, in a fixed order, known to the first one.
template <int kThreads, typename A>
__device__ A sum_over_threads(A sum) {
  for (int step = min(kThreads, kWarp) / 2; step > 0; step /= 2) {
    sum += __shfl_xor_sync(0xFFFFFFFF, sum, step);
  }
  if constexpr (kThreads > kWarp) {
    __shared__ A of_warp[kThreads / kWarp];
    __syncthreads();  // the row before has been read
    of_warp[threadIdx.x / kWarp] = sum;
    __syncthreads();
    sum = 0;
    for (int i = 0; i < kThreads / kWarp; ++i) sum += of_warp[i];
  }
  return sum;
}

// Calls visit(row) for this thread's rows, as often for every thread of a
// block, so that all of them meet at the sum: `row` may lie beyond the last
// one.
template <int kThreads, typename Visit>
__device__ void for_each_row(int64_t rows, const Visit& visit) {
  constexpr int64_t kAtOnce = kBlock / kThreads;
  for (int64_t first = blockIdx.x * kAtOnce; first < rows;
       first += gridDim.x * kAtOnce) {
    visit(first + threadIdx.x / kThreads);
  }
}

// z = mu + std eps, and kl.
template <typename T, int kThreads>
__global__ void __launch_bounds__(kBlock)
    forward_kernel(Rows<T> x, int64_t rows) {
  using A = Accumulator<T>;
  for_each_row<kThreads>(rows, [&](int64_t row) {
    A sum = 0;
    if (row < rows) {
      for_each_part<T, kThreads>(row, x.d, [&](const Part<T>& part) {
        const auto mu = part.load(x.mu), logvar = part.load(x.logvar);
        A noise[kPack<T>];
        load_noise(x, part, noise);
        Pack<T> z;
#pragma unroll
        for (int j = 0; j < kPack<T>; ++j) {
          const A m = mu.value[j];
          const auto half = exponential(static_cast<A>(logvar.value[j]) / 2);
          z.value[j] = static_cast<T>(sample(m, half, noise[j]));
          sum += part.lo <= j && j < part.hi ? kl_term(m, half) : A{0};
        }
        part.store(x.z, z);
      });
    }
    sum = sum_over_threads<kThreads>(sum);
    const bool first = threadIdx.x % kThreads == 0;
    if (first && row < rows) x.kl[row] = static_cast<T>(sum);
  });
}

// dL/dmu and dL/dlogvar.
template <typename T, int kThreads>
__global__ void __launch_bounds__(kBlock)
    backward_kernel(Rows<T> x, int64_t rows) {
  using A = Accumulator<T>;
  for_each_row<kThreads>(rows, [&](int64_t row) {
    if (row >= rows) return;
    const A gk = x.grad_kl[row];
    for_each_part<T, kThreads>(row, x.d, [&](const Part<T>& part) {
      const auto mu = part.load(x.mu), logvar = part.load(x.logvar);
      const auto grad_z = part.load(x.grad_z);
      A noise[kPack<T>];
      load_noise(x, part, noise);
      Pack<T> to_mu, to_logvar;
#pragma unroll
      for (int j = 0; j < kPack<T>; ++j) {
        const A gz = grad_z.value[j], m = mu.value[j];
        const auto half = exponential(static_cast<A>(logvar.value[j]) / 2);
        to_mu.value[j] = static_cast<T>(grad_mu(gz, gk, m));
        to_logvar.value[j] =
            static_cast<T>(grad_logvar(gz, gk, half, noise[j]));
      }
      part.store(x.grad_mu, to_mu);
      part.store(x.grad_logvar, to_logvar);
    });
  });
}

// Calls launch(threads, blocks, stream) with the threads for a row of d.
template <typename T, typename Launch>
void with_threads(int64_t d, int64_t rows, const Launch& launch) {
  const auto go = [&](auto threads) {
    const int64_t at_once = kBlock / threads;
    const int64_t blocks = (rows + at_once - 1) / at_once;
    launch(threads, static_cast<unsigned int>(std::min(blocks, kMaxBlocks)),
           c10::cuda::getCurrentCUDAStream());
    C10_CUDA_KERNEL_LAUNCH_CHECK();
  };
  if (d <= kPack<T>) {
    go(std::integral_constant<int, 1>());
  } else if (d <= 8 * kPack<T>) {
    go(std::integral_constant<int, 4>());
  } else if (d <= 8 * kWarp * kPack<T>) {
    go(std::integral_constant<int, kWarp>());
  } else {
    go(std::integral_constant<int, kBlock>());
  }
}

// The generator's state may live on the device, where a CUDA graph advances it
// between replays, so it is read there.
__global__ void copy_seed(at::PhiloxCudaState state, int64_t* seed) {
  const auto [key, offset] = at::cuda::philox::unpack(state);
  seed[0] = static_cast<int64_t>(key);
  seed[1] = static_cast<int64_t>(offset);
}

struct Cuda {
  template <typename T>
  using Type = T;

  static at::Tensor empty(at::IntArrayRef sizes,
                          const at::TensorOptions& options) {
    return at::empty(sizes, options);
  }

  static void write_seed(const std::optional<at::Generator>& generator,
                         const at::Tensor& seed) {
    auto* const source = at::get_generator_or_default<at::CUDAGeneratorImpl>(
        generator, at::cuda::detail::getDefaultCUDAGenerator());
    const std::lock_guard<std::mutex> lock(source->mutex_);
    const at::PhiloxCudaState state = source->philox_cuda_state(4);
    copy_seed<<<1, 1, 0, c10::cuda::getCurrentCUDAStream()>>>(
        state, write<int64_t>(seed));
    C10_CUDA_KERNEL_LAUNCH_CHECK();
  }

  template <typename T>
  static void forward(const Rows<T>& x, int64_t count) {
    with_threads<T>(x.d, count, [&](auto threads, auto blocks, auto stream) {
      forward_kernel<T, threads><<<blocks, kBlock, 0, stream>>>(x, count);
    });
  }

  template <typename T>
  static void backward(const Rows<T>& x, int64_t count) {
    with_threads<T>(x.d, count, [&](auto threads, auto blocks, auto stream) {
      backward_kernel<T, threads><<<blocks, kBlock, 0, stream>>>(x, count);
    });
  }
};

}  // namespace

TORCH_LIBRARY_IMPL(aelab, CUDA, library) {
  library.impl("reparam_kl", forward<Cuda>);
  library.impl("reparam_kl_backward", backward<Cuda>);
}
