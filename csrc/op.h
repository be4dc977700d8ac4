// The op around its kernels, once for every device: checks, memory, types.
//
// A Device, in the files that include this one, tells by static members:
//   Type<T>                         what its kernels call torch's type T
//   empty(sizes, options)           memory
//   write_seed(generator, seed)     two words of the generator
//   forward(rows, count), backward  the kernels, on `count` rows
#pragma once

#include <ATen/Dispatch.h>
#include <ATen/ops/zeros.h>
#include <c10/core/DeviceGuard.h>

#include <tuple>

#include "checks.h"
#include "rows.h"

namespace {

template <typename T>
const T* read(const at::Tensor& x) {
  return x.defined() ? static_cast<const T*>(x.const_data_ptr()) : nullptr;
}

template <typename T>
T* write(const at::Tensor& x) {
  return static_cast<T*>(x.mutable_data_ptr());
}

// Contiguous inputs, kept alive for as long as the kernels read them.
struct Inputs {
  Inputs(const at::Tensor& mu, const at::Tensor& logvar,
         const std::optional<at::Tensor>& eps, const at::Tensor& seed)
      : mu(mu.contiguous()),
        logvar(logvar.contiguous()),
        eps(eps ? eps->contiguous() : at::Tensor()),
        seed(seed.contiguous()) {}

  const at::Tensor mu, logvar, eps, seed;
};

template <typename T>
aelab::Rows<T> rows_of(const Inputs& inputs) {
  aelab::Rows<T> rows = {};
  rows.d = inputs.mu.size(-1);
  rows.seed = read<int64_t>(inputs.seed);
  rows.mu = read<T>(inputs.mu);
  rows.logvar = read<T>(inputs.logvar);
  rows.eps = read<T>(inputs.eps);
  return rows;
}

template <typename Device>
std::tuple<at::Tensor, at::Tensor, at::Tensor> forward(
    const at::Tensor& mu, const at::Tensor& logvar,
    const std::optional<at::Tensor>& eps,
    const std::optional<at::Generator>& generator) {
  check_inputs(mu, logvar, eps);
  check_generator(mu, eps, generator);
  const c10::DeviceGuard guard(mu.device());
  const auto options = mu.options();
  const auto z = Device::empty(mu.sizes(), options);
  const auto kl = Device::empty(mu.sizes().slice(0, mu.dim() - 1), options);
  const auto words = options.dtype(at::kLong);
  const auto seed = eps ? at::zeros({2}, words) : Device::empty({2}, words);
  if (!eps) {  // a given eps leaves the generator be
    Device::write_seed(generator, seed);
  }
  if (mu.numel() == 0) {
    return {z, kl.zero_(), seed};
  }
  const Inputs inputs(mu, logvar, eps, seed);
  AT_DISPATCH_FLOATING_TYPES_AND(
      at::kBFloat16, mu.scalar_type(), "reparam_kl", [&] {
        using T = typename Device::template Type<scalar_t>;
        auto rows = rows_of<T>(inputs);
        rows.z = write<T>(z);
        rows.kl = write<T>(kl);
        Device::forward(rows, kl.numel());
      });
  return {z, kl, seed};
}

template <typename Device>
std::tuple<at::Tensor, at::Tensor> backward(
    const at::Tensor& grad_z, const at::Tensor& grad_kl, const at::Tensor& mu,
    const at::Tensor& logvar, const std::optional<at::Tensor>& eps,
    const at::Tensor& seed) {
  check_backward(grad_z, grad_kl, mu, logvar, eps, seed);
  const c10::DeviceGuard guard(mu.device());
  const auto grad_mu = Device::empty(mu.sizes(), mu.options());
  const auto grad_logvar = Device::empty(mu.sizes(), mu.options());
  if (mu.numel() == 0) {
    return {grad_mu, grad_logvar};
  }
  const Inputs inputs(mu, logvar, eps, seed);
  const auto gz = grad_z.contiguous(), gk = grad_kl.contiguous();
  AT_DISPATCH_FLOATING_TYPES_AND(
      at::kBFloat16, mu.scalar_type(), "reparam_kl_backward", [&] {
        using T = typename Device::template Type<scalar_t>;
        auto rows = rows_of<T>(inputs);
        rows.grad_z = read<T>(gz);
        rows.grad_kl = read<T>(gk);
        rows.grad_mu = write<T>(grad_mu);
        rows.grad_logvar = write<T>(grad_logvar);
        Device::backward(rows, gk.numel());
      });
  return {grad_mu, grad_logvar};
}

}  // namespace
