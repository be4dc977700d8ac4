// The exponential, with the two differences that lose no digits near zero.
//
// libm's functions are called one number at a time, and their last bit differs
// from machine to machine. These few lines run many numbers at a time, and give
// the same bits everywhere, since IEEE 754 says how sums, products and the
// fused a b + c are rounded.
//
// This file knows nothing of torch. T is float or double.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__CUDACC__)
#define AELAB_DEVICE __host__ __device__ inline
#else
#define AELAB_DEVICE inline
#endif

namespace {

template <typename T>
struct Exponential {
  T exp;        // exp(x)
  T minus_one;  // exp(x) - 1
  T excess;     // exp(x) - 1 - x, never negative
};

template <typename T>
struct Format;

template <>
struct Format<float> {
  using Bits = uint32_t;
  static constexpr int mantissa = 23;
  static constexpr Bits bias = 127;
  static constexpr float round = 12582912.0f;  // 1.5 * 2^23
  static constexpr float smallest = -87.5f, largest = 89.0f;
  static constexpr float ln2_high = 0.693145752f, ln2_low = 1.42860677e-6f;
  static constexpr int terms = 8;
  static constexpr int64_t factorial = 40320;  // 8!
};

template <>
struct Format<double> {
  using Bits = uint64_t;
  static constexpr int mantissa = 52;
  static constexpr Bits bias = 1023;
  static constexpr double round = 6755399441055744.0;  // 1.5 * 2^52
  static constexpr double smallest = -708.5, largest = 710.0;
  static constexpr double ln2_high = 0.69314718036912382;
  static constexpr double ln2_low = 1.9082149292705877e-10;
  static constexpr int terms = 14;
  static constexpr int64_t factorial = 87178291200;  // 14!
};

// a b + c, rounded once: one instruction, and the fastest, where there is one.
AELAB_DEVICE float multiply_add(float a, float b, float c) {
#if defined(__FMA__) || defined(__aarch64__) || defined(__CUDA_ARCH__)
  return std::fma(a, b, c);
#else
  // The plain twin. In double the product is exact. A sum that is not, moves to
  // that neighbour in double which is odd, and so the rounding to float is the
  // only one that shows: Boldo and Melquiond, IEEE Trans. Computers 57, 2008.
  const double product = static_cast<double>(a) * b, sum = product + c;
  const double part = sum - product;
  const double error = (product - (sum - part)) + (c - part);
  uint64_t sum_bits, error_bits;
  std::memcpy(&sum_bits, &sum, sizeof sum);
  std::memcpy(&error_bits, &error, sizeof error);
  const uint64_t infinite = 0x7FF0000000000000;  // beyond it is NaN
  const uint64_t size = error_bits << 1 >> 1;
  const uint64_t inexact = ((0 - size) & ~(infinite - size)) >> 63;
  const uint64_t beyond = (sum_bits ^ error_bits) >> 63 & inexact;
  sum_bits = (sum_bits - beyond) | inexact;
  double odd;
  std::memcpy(&odd, &sum_bits, sizeof odd);
  return static_cast<float>(odd);
#endif
}

// Rounded twice, everywhere: a plain twin of the fused one would be slow.
AELAB_DEVICE double multiply_add(double a, double b, double c) {
  return a * b + c;
}

// 2^k for the integer k, as long as the result is a normal number; 0 for one
// less than the smallest of these.
template <typename T>
AELAB_DEVICE T power_of_two(typename Format<T>::Bits k) {
  const auto bits = (k + Format<T>::bias) << Format<T>::mantissa;
  T result;
  std::memcpy(&result, &bits, sizeof result);
  return result;
}

// x = k ln 2 + r with |r| <= ln(2) / 2, and so exp(x) = 2^k exp(r), where
// Taylor's series of exp(r) is short.
template <typename T>
AELAB_DEVICE Exponential<T> exponential(T x) {
  using F = Format<T>;
  using Bits = typename F::Bits;
  // Beyond these limits the result is 0, or denormal and taken for 0, or
  // infinite.
  T inside = x < F::smallest ? F::smallest : x;  // NaN stays NaN
  inside = inside > F::largest ? F::largest : inside;

  // Adding 1.5 * 2^mantissa rounds to an integer, which the low bits then hold.
  const T round = F::round;
  const T shifted = multiply_add(inside, T(1.4426950408889634), round);
  const T steps = shifted - round;
  Bits zero, k;
  std::memcpy(&zero, &round, sizeof zero);
  std::memcpy(&k, &shifted, sizeof k);
  k -= zero;
  const T r = multiply_add(-steps, F::ln2_low,
                           multiply_add(-steps, F::ln2_high, inside));

  // exp(r) - 1 - r = r^2 (1/2! + r (1/3! + r (1/4! + ...)))
  int64_t factorial = F::factorial;
  T series = T(1) / T(factorial);
  for (int n = F::terms; n > 2; --n) {
    factorial /= n;
    series = multiply_add(series, r, T(1) / T(factorial));
  }
  const T excess = r * r * series;
  const T expm1 = r + excess;

  // Half of 2^k: 2^k itself is infinite a little before exp(x) is.
  const T scale = power_of_two<T>(k - 1);
  const T minus_one = 2 * multiply_add(expm1, scale, scale - T(0.5));
  return {2 * multiply_add(expm1, scale, scale), minus_one,
          k == 0 ? excess : minus_one - x};
}

}  // namespace
