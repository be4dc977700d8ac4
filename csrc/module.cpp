// The table of contents of csrc: the ops' schemas, and the Python module.
// Every device's file registers its own kernels in its last lines.
#include <ATen/Parallel.h>
#include <pybind11/pybind11.h>
#include <torch/library.h>

#include <mutex>
#include <set>
#include <thread>
#include <vector>

void add_eager_road(PyObject* module);  // in eager.cpp
const char* cpu_loops();                // in reparam_kl_cpu.cpp

// seed, int64 of shape (2,), is all that the backward pass needs to draw the
// noise again. It is a tensor because a Python number would be frozen into a
// compiled graph.
TORCH_LIBRARY(aelab, library) {
  const std::vector<at::Tag> draws = {at::Tag::nondeterministic_seeded,
                                      at::Tag::pt2_compliant_tag};
  const std::vector<at::Tag> pure = {at::Tag::pt2_compliant_tag};
  library.def(
      "reparam_kl(Tensor mu, Tensor logvar, Tensor? eps, *, "
      "Generator? generator=None) -> (Tensor z, Tensor kl, Tensor seed)",
      draws);
  library.def(
      "reparam_kl_backward(Tensor grad_z, Tensor grad_kl, Tensor mu, "
      "Tensor logvar, Tensor? eps, Tensor seed) "
      "-> (Tensor grad_mu, Tensor grad_logvar)",
      pure);
}

namespace {

// How many threads a parallel loop of ours really runs on: 1 in a serial build.
size_t count_threads() {
  std::mutex mutex;
  std::set<std::thread::id> seen;
  at::parallel_for(0, 64, 1, [&](int64_t, int64_t) {
    const std::lock_guard<std::mutex> lock(mutex);
    seen.insert(std::this_thread::get_id());
  });
  return seen.size();
}

}  // namespace

PYBIND11_MODULE(_C, module) {
  module.doc() = "The compiled half of aelab.ops.";
  add_eager_road(module.ptr());
  module.def("count_threads", count_threads);
  module.def("cpu_loops", cpu_loops);
  module.attr("pybind11_version_hex") = PYBIND11_VERSION_HEX;
}
