// What one call of the CPU loops works on, and the table of the loops: one for
// each instruction set, compiled from rows.cpp. No torch here, and no function:
// an inline one could leak from the file of one set into the others.
#pragma once

#include <cstdint>

namespace aelab {

// Sixteen bits of torch's at::BFloat16: the upper half of a float.
enum class BFloat16 : uint16_t {};

// Contiguous rows of d elements; kl and grad_kl have one element a row. The
// noise is drawn where eps is null. Forward writes z and kl, backward the rest.
template <typename T>
struct Rows {
  int64_t d;
  const int64_t* seed;  // key and offset
  const T *mu, *logvar, *eps;
  T *z, *kl;
  const T *grad_z, *grad_kl;
  T *grad_mu, *grad_logvar;
};

// Both work on rows begin ... end - 1.
template <typename T>
struct Loops {
  void (*forward)(const Rows<T>&, int64_t begin, int64_t end);
  void (*backward)(const Rows<T>&, int64_t begin, int64_t end);
};

struct Kernels : Loops<float>, Loops<double>, Loops<BFloat16> {
  const char* set;  // the instruction set, in torch's words
};

extern const Kernels kernels_default, kernels_avx2, kernels_avx512;

}  // namespace aelab
