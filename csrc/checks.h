// The checks at the border, once for every device. Each sentence says who, what
// was expected, what came, and the remedy; aelab/ops.py says the same sentences
// where the op runs without this extension.
#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>

#include <optional>
#include <sstream>
#include <string>

namespace {

std::string shape_text(const at::Tensor& x) {
  std::ostringstream text;
  text << "(";
  for (int64_t i = 0; i < x.dim(); ++i) {
    text << (i > 0 ? ", " : "") << x.size(i);
  }
  text << (x.dim() == 1 ? ",)" : ")");
  return text.str();
}

std::string dtype_text(const at::Tensor& x) {
  return std::string(c10::getDtypeNames(x.scalar_type()).first);
}

// x, called `name`, belongs to the same distribution as mu.
void check_like_mu(const at::Tensor& mu, const at::Tensor& x,
                   const char* name) {
  TORCH_CHECK_VALUE(mu.sizes() == x.sizes(), "reparam_kl: expected mu and ",
                    name, " of one shape, but got ", shape_text(mu), " and ",
                    shape_text(x),
                    "; nothing is broadcast here, so expand one first");
  TORCH_CHECK_TYPE(mu.scalar_type() == x.scalar_type(),
                   "reparam_kl: expected mu and ", name,
                   " of one dtype, but got ", dtype_text(mu), " and ",
                   dtype_text(x), "; convert one with .to(dtype)");
  TORCH_CHECK_VALUE(mu.device() == x.device(), "reparam_kl: expected mu and ",
                    name, " on one device, but got ", mu.device().str(),
                    " and ", x.device().str(), "; move one with .to(device)");
}

void check_inputs(const at::Tensor& mu, const at::Tensor& logvar,
                  const std::optional<at::Tensor>& eps) {
  const auto dtype = mu.scalar_type();
  TORCH_CHECK_TYPE(
      dtype == at::kFloat || dtype == at::kDouble || dtype == at::kBFloat16,
      "reparam_kl: expected mu of dtype float32, float64 or bfloat16, but got ",
      dtype_text(mu), "; convert it with .float()");
  TORCH_CHECK_VALUE(mu.dim() > 0,
                    "reparam_kl: expected mu of at least one dimension, the "
                    "latent one, but got a scalar; use mu.unsqueeze(0)");
  check_like_mu(mu, logvar, "logvar");
  if (eps) {
    check_like_mu(mu, *eps, "eps");
  }
}

void check_generator(const at::Tensor& mu, const std::optional<at::Tensor>& eps,
                     const std::optional<at::Generator>& generator) {
  if (!generator) {
    return;
  }
  TORCH_CHECK_VALUE(!eps,
                    "reparam_kl: expected eps or a generator, but got both; a "
                    "given eps draws nothing, so leave the generator out");
  TORCH_CHECK_VALUE(generator->device().type() == mu.device().type(),
                    "reparam_kl: expected a generator on ", mu.device().str(),
                    ", where mu is, but got one on ", generator->device().str(),
                    "; make it with torch.Generator(device=mu.device)");
}

// The seed is an int64 tensor of two words: key and offset.
void check_seed(const at::Tensor& mu, const at::Tensor& seed) {
  TORCH_CHECK_TYPE(seed.scalar_type() == at::kLong,
                   "reparam_kl: expected seed of dtype int64, but got ",
                   dtype_text(seed));
  TORCH_CHECK_VALUE(seed.dim() == 1 && seed.numel() == 2,
                    "reparam_kl: expected seed of shape (2,), but got ",
                    shape_text(seed));
  TORCH_CHECK_VALUE(seed.device() == mu.device(),
                    "reparam_kl: expected seed on ", mu.device().str(),
                    ", where mu is, but got ", seed.device().str());
}

// The backward op is public in the dispatcher, so it guards its memory too.
void check_backward(const at::Tensor& grad_z, const at::Tensor& grad_kl,
                    const at::Tensor& mu, const at::Tensor& logvar,
                    const std::optional<at::Tensor>& eps,
                    const at::Tensor& seed) {
  check_inputs(mu, logvar, eps);
  check_like_mu(mu, grad_z, "grad_z");
  check_seed(mu, seed);
  TORCH_CHECK_VALUE(grad_kl.sizes() == mu.sizes().slice(0, mu.dim() - 1),
                    "reparam_kl: expected one grad_kl for every row of mu ",
                    shape_text(mu), ", but got ", shape_text(grad_kl));
  TORCH_CHECK_TYPE(grad_kl.scalar_type() == mu.scalar_type(),
                   "reparam_kl: expected mu and grad_kl of one dtype, but got ",
                   dtype_text(mu), " and ", dtype_text(grad_kl));
  TORCH_CHECK_VALUE(grad_kl.device() == mu.device(),
                    "reparam_kl: expected grad_kl on ", mu.device().str(),
                    ", where mu is, but got ", grad_kl.device().str());
}

}  // namespace
