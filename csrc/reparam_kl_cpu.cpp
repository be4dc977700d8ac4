// reparam_kl on the CPU: forward, and backward under it.
//
// The loops are those of rows.cpp, in the instruction set that torch uses too.
// Rows are shared out among threads and never split.
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Dispatch.h>
#include <ATen/EmptyTensor.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <ATen/core/DistributionsHelper.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <algorithm>
#include <mutex>
#include <tuple>

#include "checks.h"
#include "rows.h"

namespace {

constexpr int64_t kGrain = 8192;  // elements that are worth a thread

// ATEN_CPU_CAPABILITY=default or avx2 asks for less than the processor has.
const aelab::Kernels& kernels() {
  static const aelab::Kernels& chosen = []() -> const aelab::Kernels& {
#if defined(AELAB_X86)
    const auto capability = at::get_cpu_capability();
    if (capability == "AVX512") return aelab::kernels_avx512;
    if (capability == "AVX2") return aelab::kernels_avx2;
#endif
    return aelab::kernels_default;
  }();
  return chosen;
}

const auto& loops_of(float) { return kernels().of_float; }
const auto& loops_of(double) { return kernels().of_double; }
const auto& loops_of(aelab::BFloat16) { return kernels().of_bfloat16; }

// The type of rows.h for a type of torch's.
template <typename T>
using Plain =
    std::conditional_t<std::is_same_v<T, at::BFloat16>, aelab::BFloat16, T>;

template <typename T>
const T* read(const at::Tensor& x) {
  return x.defined() ? static_cast<const T*>(x.const_data_ptr()) : nullptr;
}

template <typename T>
T* write(const at::Tensor& x) {
  return static_cast<T*>(x.mutable_data_ptr());
}

// What forward and backward have in common.
template <typename T>
aelab::Rows<T> rows_of(const at::Tensor& mu, const at::Tensor& logvar,
                       const at::Tensor& eps, const at::Tensor& seed) {
  const auto s = seed.contiguous();
  aelab::Rows<T> rows = {};
  rows.d = mu.size(-1);
  rows.key = static_cast<uint64_t>(read<int64_t>(s)[0]);
  rows.offset = static_cast<uint64_t>(read<int64_t>(s)[1]);
  rows.mu = read<T>(mu);
  rows.logvar = read<T>(logvar);
  rows.eps = read<T>(eps);
  return rows;
}

template <typename T>
void in_parallel(void (*loop)(const aelab::Rows<T>&, int64_t, int64_t),
                 const aelab::Rows<T>& rows, int64_t count) {
  at::parallel_for(0, count, std::max<int64_t>(1, kGrain / rows.d),
                   [&](int64_t begin, int64_t end) { loop(rows, begin, end); });
}

// at::empty without the dispatcher, which costs more than a small kernel.
at::Tensor empty(at::IntArrayRef sizes, at::ScalarType dtype) {
  return at::Tensor(at::detail::empty_cpu(sizes, dtype));
}

// The two words of torch.randint(INT64_MIN, INT64_MAX, (2,)), drawn under the
// generator's mutex. A given eps leaves the generator be.
void draw_seed(bool given, const std::optional<at::Generator>& generator,
               int64_t* seed) {
  seed[0] = seed[1] = 0;
  if (!given) {
    auto* const source = at::get_generator_or_default<at::CPUGeneratorImpl>(
        generator, at::detail::getDefaultCPUGenerator());
    const std::lock_guard<std::mutex> lock(source->mutex_);
    at::uniform_int_from_to_distribution<int64_t> word(UINT64_MAX, INT64_MIN);
    seed[0] = word(source);
    seed[1] = word(source);
  }
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> forward(
    const at::Tensor& mu, const at::Tensor& logvar,
    const std::optional<at::Tensor>& eps,
    const std::optional<at::Generator>& generator) {
  check_inputs(mu, logvar, eps);
  check_generator(mu, eps, generator);
  const auto m = mu.contiguous(), v = logvar.contiguous();
  const auto e = eps ? eps->contiguous() : at::Tensor();
  const auto z = empty(m.sizes(), m.scalar_type());
  const auto kl = empty(m.sizes().slice(0, m.dim() - 1), m.scalar_type());
  const auto seed = empty({2}, at::kLong);
  draw_seed(eps.has_value(), generator, write<int64_t>(seed));
  if (m.numel() == 0) {
    kl.zero_();
    return {z, kl, seed};
  }
  AT_DISPATCH_FLOATING_TYPES_AND(
      at::kBFloat16, m.scalar_type(), "reparam_kl", [&] {
        using T = Plain<scalar_t>;
        auto rows = rows_of<T>(m, v, e, seed);
        rows.z = write<T>(z);
        rows.kl = write<T>(kl);
        in_parallel(loops_of(T()).forward, rows, kl.numel());
      });
  return {z, kl, seed};
}

std::tuple<at::Tensor, at::Tensor> backward(
    const at::Tensor& grad_z, const at::Tensor& grad_kl, const at::Tensor& mu,
    const at::Tensor& logvar, const std::optional<at::Tensor>& eps,
    const at::Tensor& seed) {
  check_backward(grad_z, grad_kl, mu, logvar, eps, seed);
  const auto gz = grad_z.contiguous(), gk = grad_kl.contiguous();
  const auto m = mu.contiguous(), v = logvar.contiguous();
  const auto e = eps ? eps->contiguous() : at::Tensor();
  const auto grad_mu = empty(m.sizes(), m.scalar_type());
  const auto grad_logvar = empty(m.sizes(), m.scalar_type());
  if (m.numel() == 0) {
    return {grad_mu, grad_logvar};
  }
  AT_DISPATCH_FLOATING_TYPES_AND(
      at::kBFloat16, m.scalar_type(), "reparam_kl_backward", [&] {
        using T = Plain<scalar_t>;
        auto rows = rows_of<T>(m, v, e, seed);
        rows.grad_z = read<T>(gz);
        rows.grad_kl = read<T>(gk);
        rows.grad_mu = write<T>(grad_mu);
        rows.grad_logvar = write<T>(grad_logvar);
        in_parallel(loops_of(T()).backward, rows, gk.numel());
      });
  return {grad_mu, grad_logvar};
}

// The noise itself, in the shape of `like`: z where mu and logvar are zero.
at::Tensor noise(const at::Tensor& like, const at::Tensor& seed) {
  check_inputs(like, like, std::nullopt);
  check_seed(like, seed);
  const auto zeros = at::zeros(like.sizes(), like.options().dtype(at::kFloat));
  const auto eps = empty(zeros.sizes(), at::kFloat);
  if (eps.numel() > 0) {
    const int64_t count = eps.numel() / eps.size(-1);
    const auto kl = empty({count}, at::kFloat);
    auto rows = rows_of<float>(zeros, zeros, at::Tensor(), seed);
    rows.z = write<float>(eps);
    rows.kl = write<float>(kl);
    in_parallel(kernels().of_float.forward, rows, count);
  }
  return eps.to(like.scalar_type());
}

}  // namespace

TORCH_LIBRARY_IMPL(aelab, CPU, library) {
  library.impl("reparam_kl", forward);
  library.impl("reparam_kl_backward", backward);
  library.impl("reparam_kl_noise", noise);
}
