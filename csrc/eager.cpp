// The short road in plain eager mode: from Python to the kernel and back, with
// an autograd node of our own, in the time of one torch.add.
//
// It is taken when the dispatcher would find nothing on its way but autograd
// and the kernel. Modes, subclasses, compilers, autocast and torch.func's
// transforms all leave a mark in the dispatch keys, and take the long road.
#include <ATen/PythonTorchFunctionTLS.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <pybind11/pybind11.h>
#include <torch/csrc/Exceptions.h>
#include <torch/csrc/Generator.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/python_variable.h>
#include <torch/csrc/dynamo/compiled_autograd.h>

#include <memory>
#include <mutex>
#include <optional>
#include <tuple>

namespace {

using at::Tensor;
using torch::autograd::SavedVariable;
using torch::autograd::variable_list;
using NodePointer = decltype(torch::autograd::Edge::function);

template <typename Signature>
auto find(const char* name) {
  return c10::Dispatcher::singleton()
      .findSchemaOrThrow(name, "")
      .typed<Signature>();
}

std::tuple<Tensor, Tensor, Tensor> forward(
    const Tensor& mu, const Tensor& logvar, const std::optional<Tensor>& eps,
    const std::optional<at::Generator>& generator) {
  static const auto op = find<decltype(forward)>("aelab::reparam_kl");
  const at::AutoDispatchBelowADInplaceOrView below_autograd;
  return op.call(mu, logvar, eps, generator);
}

std::tuple<Tensor, Tensor> backward(const Tensor& grad_z, const Tensor& grad_kl,
                                    const Tensor& mu, const Tensor& logvar,
                                    const std::optional<Tensor>& eps,
                                    const Tensor& seed) {
  static const auto op = find<decltype(backward)>("aelab::reparam_kl_backward");
  // A second derivative is the long road's: aelab/ops.py has its formula.
  std::optional<at::AutoDispatchBelowADInplaceOrView> below_autograd;
  if (!at::GradMode::is_enabled()) {
    below_autograd.emplace();
  }
  return op.call(grad_z, grad_kl, mu, logvar, eps, seed);
}

class ReparamKlBackward : public torch::autograd::Node {
 public:
  ReparamKlBackward(const Tensor& mu, const Tensor& logvar,
                    const std::optional<Tensor>& eps, Tensor seed)
      : mu_(mu, false), logvar_(logvar, false), seed_(std::move(seed)) {
    if (eps) {
      eps_ = SavedVariable(*eps, false);
    }
    set_next_edges(torch::autograd::collect_next_edges(mu, logvar, eps));
  }

  std::string name() const override { return "ReparamKlBackward"; }

  variable_list apply(variable_list&& grads) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    const Tensor mu = mu_.unpack(), logvar = logvar_.unpack();
    const Tensor given = eps_.unpack();
    const auto eps = given.defined() ? std::optional(given) : std::nullopt;
    const auto rows = mu.sizes().slice(0, mu.dim() - 1);
    const auto grad_z = grads[0].defined() ? grads[0] : at::zeros_like(mu);
    const auto grad_kl =
        grads[1].defined() ? grads[1] : at::zeros(rows, mu.options());
    auto [grad_mu, grad_logvar] =
        backward(grad_z, grad_kl, mu, logvar, eps, seed_);
    variable_list result = {std::move(grad_mu), std::move(grad_logvar), {}};
    if (eps && task_should_compute_output(2)) {
      result[2] = grad_z.mul(logvar.div(2).exp());
    }
    return result;
  }

  // Compiled autograd runs apply on what it traces with, in place of the saved.
  void compiled_args(
      torch::dynamo::autograd::CompiledNodeArgs& args) const override {
    args.collect(mu_, false);
    args.collect(logvar_, false);
    args.collect(eps_, false);
    args.collect(seed_);
  }

  variable_list apply_with_saved(
      const variable_list& grads,
      torch::dynamo::autograd::SwapSavedVariables& saved) override {
    const auto each = [&](auto&& visit) {
      visit(mu_), visit(logvar_), visit(eps_), visit(seed_);
    };
    each([&](auto& x) { saved.before(x); });
    auto result = apply(variable_list(grads));
    each([&](auto& x) { saved.after(x); });
    return result;
  }

  void release_variables() override {
    const std::lock_guard<std::mutex> lock(mutex_);
    mu_.reset_data();
    logvar_.reset_data();
    eps_.reset_data();
  }

 private:
  SavedVariable mu_, logvar_, eps_;
  Tensor seed_;
};

// Whether a call of the op on x, among others, is plain eager mode.
bool is_plain(const Tensor& x) {
  using c10::DispatchKey;
  const c10::DispatchKeySet common(
      {DispatchKey::BackendSelect, DispatchKey::ADInplaceOrView});
  const auto cpu = common.add(DispatchKey::CPU).add(DispatchKey::AutogradCPU);
  const auto cuda =
      common.add(DispatchKey::CUDA).add(DispatchKey::AutogradCUDA);
  const auto local = c10::impl::tls_local_dispatch_key_set();
  const auto keys = (x.key_set() | local.included_) - local.excluded_;
  return (cpu.has_all(keys) || cuda.has_all(keys)) &&
         !x._fw_grad(/*level=*/0).defined();
}

PyObject* reparam_kl(PyObject*, PyObject* const* arguments, Py_ssize_t count) {
  HANDLE_TH_ERRORS
  TORCH_CHECK_TYPE(count == 4, "expected 4 arguments, but got ", count);
  if (at::impl::torch_function_mode_enabled()) {
    Py_RETURN_NONE;
  }
  for (int i = 0; i < 3; ++i) {
    PyObject* x = arguments[i];
    const bool absent = i == 2 && x == Py_None;
    if (!absent &&
        !(THPVariable_CheckExact(x) && is_plain(THPVariable_Unpack(x)))) {
      Py_RETURN_NONE;
    }
  }
  const Tensor mu = THPVariable_Unpack(arguments[0]);
  const Tensor logvar = THPVariable_Unpack(arguments[1]);
  std::optional<Tensor> eps;
  if (arguments[2] != Py_None) {
    eps = THPVariable_Unpack(arguments[2]);
  }
  std::optional<at::Generator> generator;
  if (arguments[3] != Py_None) {
    if (!THPGenerator_Check(arguments[3])) {
      Py_RETURN_NONE;
    }
    generator = reinterpret_cast<THPGenerator*>(arguments[3])->cdata;
  }

  Tensor z, kl, seed;
  {
    const pybind11::gil_scoped_release no_gil;
    std::tie(z, kl, seed) = forward(mu, logvar, eps, generator);
    if (torch::autograd::compute_requires_grad(mu, logvar, eps)) {
      const NodePointer node(
          std::make_unique<ReparamKlBackward>(mu, logvar, eps, seed));
      torch::autograd::set_history(z, node);
      torch::autograd::set_history(kl, node);
    }
  }
  PyObject* result = PyTuple_New(2);
  PyTuple_SET_ITEM(result, 0, THPVariable_Wrap(std::move(z)));
  PyTuple_SET_ITEM(result, 1, THPVariable_Wrap(std::move(kl)));
  return result;
  END_HANDLE_TH_ERRORS
}

}  // namespace

// A plain function of CPython: it is called, and errors come back, as torch's
// own functions are and do, faster than through pybind11.
void add_eager_road(PyObject* module) {
  static PyMethodDef methods[] = {
      {"reparam_kl",
       reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(reparam_kl)),
       METH_FASTCALL, "(mu, logvar, eps, generator) -> (z, kl), or None"},
      {nullptr, nullptr, 0, nullptr}};
  PyModule_AddFunctions(module, methods);
}
