// The table of contents of csrc: the ops' schemas, and the Python module.
// Every device's file registers its own kernels in its last lines.
#include <ATen/Parallel.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <torch/library.h>

#include <array>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "philox.h"

namespace py = pybind11;

void add_eager_road(PyObject* module);  // in eager.cpp
const char*
cpu_loops();  // in reparam_kl_cpu.cpp: the instruction set of its loops

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
  library.def("reparam_kl_noise(Tensor like, Tensor seed) -> Tensor", pure);
}

namespace {

std::array<uint32_t, 4> to_array(const Words& words) {
  return {words.w[0], words.w[1], words.w[2], words.w[3]};
}

// One call of the generator, for comparison with its published test vectors.
std::array<uint32_t, 4> philox4x32_words(const std::array<int64_t, 4>& counter,
                                         const std::array<int64_t, 2>& key) {
  const auto word = [](int64_t value) {
    if (value < 0 || value > 0xFFFFFFFF) {
      throw py::value_error(
          "philox4x32: expected words in [0, 2**32), but got " +
          std::to_string(value) + "; take the word modulo 2**32");
    }
    return static_cast<uint32_t>(value);
  };
  return to_array(philox4x32({{word(counter[0]), word(counter[1]),
                               word(counter[2]), word(counter[3])}},
                             word(key[0]), word(key[1])));
}

// What one group of four elements draws, however far out it lies.
std::array<uint32_t, 4> group_words(uint64_t key, uint64_t offset,
                                    uint64_t group) {
  return to_array(noise_words({key, offset}, group));
}

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
  module.def("philox4x32", philox4x32_words, py::arg("counter"),
             py::arg("key"));
  module.def("noise_words", group_words, py::arg("key"), py::arg("offset"),
             py::arg("group"));
  module.def("count_threads", count_threads);
  module.def("cpu_loops", cpu_loops);
  module.attr("pybind11_version_hex") = PYBIND11_VERSION_HEX;
}
