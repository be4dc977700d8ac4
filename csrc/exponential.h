// The exponential, with the two differences that lose no digits near zero.
//
// libm's functions are called one number at a time, and their last bit differs
// from machine to machine. These few lines run many numbers at a time, and give
// the same bits everywhere, since they add, multiply and shift only.
//
// This file knows nothing of torch. T is float or double.
#pragma once

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
  T minus_one;  // exp(x) - 1; infinite half a power of two before exp(x) is
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
  static constexpr float smallest = -104.5f, largest = 89.0f;
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
  static constexpr double smallest = -746.0, largest = 710.0;
  static constexpr double ln2_high = 0.69314718036912382;
  static constexpr double ln2_low = 1.9082149292705877e-10;
  static constexpr int terms = 14;
  static constexpr int64_t factorial = 87178291200;  // 14!
};

// 2^k for the integer k, as long as the result is a normal number.
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
  // Beyond these limits the result is 0 or infinity anyway; NaN stays NaN.
  T inside = x < F::smallest ? F::smallest : x;
  inside = inside > F::largest ? F::largest : inside;

  // Adding 1.5 * 2^mantissa rounds to an integer, which the low bits then hold.
  const T round = F::round;
  const T shifted = inside * T(1.4426950408889634) + round;
  const T steps = shifted - round;
  Bits zero, k;
  std::memcpy(&zero, &round, sizeof zero);
  std::memcpy(&k, &shifted, sizeof k);
  k -= zero;
  const T r = (inside - steps * F::ln2_high) - steps * F::ln2_low;

  // exp(r) - 1 - r = r^2 (1/2! + r (1/3! + r (1/4! + ...)))
  int64_t factorial = F::factorial;
  T series = T(1) / T(factorial);
  for (int n = F::terms; n > 2; --n) {
    factorial /= n;
    series = series * r + T(1) / T(factorial);
  }
  const T excess = r * r * series;
  const T expm1 = r + excess;

  // 2^k in two factors, each of them a normal number.
  const Bits half = (k + 2 * F::bias) / 2 - F::bias;
  const T first = power_of_two<T>(half);
  const T second = power_of_two<T>(k - half);
  const T scale = first * second;
  const T minus_one = expm1 * first * second + (scale - 1);
  return {(1 + expm1) * first * second, minus_one,
          k == 0 ? excess : minus_one - x};
}

}  // namespace
