// reparam_kl on the CPU: what op.h asks of a device.
//
// The loops are those of rows.cpp, in the instruction set that torch uses too.
// Rows are shared out among threads and never split.
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/EmptyTensor.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <ATen/core/DistributionsHelper.h>
#include <torch/library.h>

#include <algorithm>
#include <mutex>

#include "op.h"

namespace {

constexpr int64_t kGrain = 8192;  // elements that are worth a thread

// ATEN_CPU_CAPABILITY=default or avx2 asks for less than the processor has.
const aelab::Kernels& chosen_kernels() {
  static const aelab::Kernels& kernels = [&]() -> const aelab::Kernels& {
#if defined(AELAB_X86)
    const auto capability = at::get_cpu_capability();
    if (capability == "AVX512") return aelab::kernels_avx512;
    if (capability == "AVX2") return aelab::kernels_avx2;
#endif
    return aelab::kernels_default;
  }();
  return kernels;
}

struct Cpu {
  template <typename T>
  using Type =
      std::conditional_t<std::is_same_v<T, at::BFloat16>, aelab::BFloat16, T>;

  // at::empty without the dispatcher, which costs more than a small kernel.
  static at::Tensor empty(at::IntArrayRef sizes,
                          const at::TensorOptions& options) {
    return at::Tensor(at::detail::empty_cpu(
        sizes, c10::typeMetaToScalarType(options.dtype())));
  }

  // The numbers of torch.randint(INT64_MIN, INT64_MAX, (2,)).
  static void write_seed(const std::optional<at::Generator>& generator,
                         const at::Tensor& seed) {
    auto* const source = at::get_generator_or_default<at::CPUGeneratorImpl>(
        generator, at::detail::getDefaultCPUGenerator());
    const std::lock_guard<std::mutex> lock(source->mutex_);
    at::uniform_int_from_to_distribution<int64_t> word(UINT64_MAX, INT64_MIN);
    for (int i = 0; i < 2; ++i) {
      write<int64_t>(seed)[i] = word(source);
    }
  }

  template <typename T>
  static void forward(const aelab::Rows<T>& rows, int64_t count) {
    in_parallel(loops<T>().forward, rows, count);
  }

  template <typename T>
  static void backward(const aelab::Rows<T>& rows, int64_t count) {
    in_parallel(loops<T>().backward, rows, count);
  }

 private:
  template <typename T>
  static const aelab::Loops<T>& loops() {
    return chosen_kernels();
  }

  template <typename T>
  static void in_parallel(void (*loop)(const aelab::Rows<T>&, int64_t, int64_t),
                          const aelab::Rows<T>& rows, int64_t count) {
    at::parallel_for(
        0, count, std::max<int64_t>(1, kGrain / rows.d),
        [&](int64_t begin, int64_t end) { loop(rows, begin, end); });
  }
};

}  // namespace

// The instruction set of the loops, as it was compiled.
const char* cpu_loops() { return chosen_kernels().set; }

TORCH_LIBRARY_IMPL(aelab, CPU, library) {
  library.impl("reparam_kl", forward<Cpu>);
  library.impl("reparam_kl_backward", backward<Cpu>);
}
