// The noise: standard normal numbers that are a function of (seed, index).
//
// A counter-based generator has no state to carry from one number to the next:
// element i of the noise depends on the seed and on i alone. So any thread can
// draw any part of it, in any order, and the backward pass draws it again
// instead of keeping it in memory.
//
// Philox 4x32-10: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy
// as 1, 2, 3", SC 2011. Normal numbers: Box and Muller, 1958.
//
// This file knows nothing of torch and calls no function of libm but the square
// root, which IEEE 754 rounds exactly: the bits are the same on every machine.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "exponential.h"

namespace {

struct Seed {
  uint64_t key;     // which stream
  uint64_t offset;  // the upper half of the counter
};

struct Words {
  uint32_t w[4];
};

// Each round multiplies by the first two, and then adds the others to the key.
constexpr uint32_t kMultiply0 = 0xD2511F53, kMultiply1 = 0xCD9E8D57;
constexpr uint32_t kAdd0 = 0x9E3779B9;  // the golden ratio
constexpr uint32_t kAdd1 = 0xBB67AE85;  // sqrt(3) - 1
constexpr int kRounds = 10;

// Keeps our numbers apart from torch's own Philox kernels of the same seed.
constexpr uint64_t kSalt = 0x61656C6162000000;  // "aelab"

// Ten rounds of multiply, swap and xor turn a counter into four random words.
AELAB_DEVICE Words philox4x32(Words c, uint32_t key0, uint32_t key1) {
  for (int round = 0; round < kRounds; ++round) {
    const uint64_t product0 = uint64_t{kMultiply0} * c.w[0];
    const uint64_t product1 = uint64_t{kMultiply1} * c.w[2];
    c = {{static_cast<uint32_t>(product1 >> 32) ^ c.w[1] ^ key0,
          static_cast<uint32_t>(product1),
          static_cast<uint32_t>(product0 >> 32) ^ c.w[3] ^ key1,
          static_cast<uint32_t>(product0)}};
    key0 += kAdd0;
    key1 += kAdd1;
  }
  return c;
}

// The random words behind elements 4 * group ... 4 * group + 3 of the noise.
AELAB_DEVICE Words noise_words(Seed seed, uint64_t group) {
  const uint64_t key = seed.key ^ kSalt;
  const Words counter = {{static_cast<uint32_t>(group),
                          static_cast<uint32_t>(group >> 32),
                          static_cast<uint32_t>(seed.offset),
                          static_cast<uint32_t>(seed.offset >> 32)}};
  return philox4x32(counter, static_cast<uint32_t>(key),
                    static_cast<uint32_t>(key >> 32));
}

// c + x (next + x (...)), from the coefficient of x^0 on.
AELAB_DEVICE float polynomial(float, float c) { return c; }

template <typename... Coefficients>
AELAB_DEVICE float polynomial(float x, float c, Coefficients... next) {
  return multiply_add(polynomial(x, next...), x, c);
}

// sqrt(-2 log u) for u = 2^-31 x, where x > 0 is an integer. x = 2^e m with m
// in [sqrt(1/2), sqrt(2)), and log(m) = 2 artanh(s), s = (m - 1) / (m + 1): the
// polynomial of least error, 7e-10.
AELAB_DEVICE float radius_of(float x) {
  int32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  const int32_t e = (bits - 0x3F3504F3) >> 23;  // 0x3F3504F3: sqrt(1/2)
  bits -= e * (1 << 23);
  float m;
  std::memcpy(&m, &bits, sizeof m);
  const float s = (m - 1.0f) / (m + 1.0f), s2 = s * s;
  const float series =
      polynomial(s2, 1.0f, 0.33333408f, 0.19987378f, 0.14963257f);
  const float two_ln2 = 1.386294361f;
  return std::sqrt(
      multiply_add(-4.0f * s, series, static_cast<float>(31 - e) * two_ln2));
}

// Two random words to two normal numbers: radius sqrt(-2 log u), u in (0, 1],
// and a uniform angle. The angle is t in [-pi/4, pi/4), for which polynomials
// of sine and cosine are short (least error: 4e-9), and one of four places: one
// bit turns the cosine's sign, another swaps sine and cosine.
AELAB_DEVICE void box_muller(uint32_t word0, uint32_t word1, float* normal0,
                             float* normal1) {
  // Odd numbers, so never 0. SIMD converts signed integers, hence the half.
  const float radius =
      radius_of(static_cast<float>(static_cast<int32_t>(word0 >> 1 | 1)));
  const float t =  // (pi/4) 2^-31 times the low 30 bits, moved to the top
      static_cast<float>(static_cast<int32_t>(word1 << 2)) * 3.657295199e-10f;
  const float t2 = t * t;
  const float sine = multiply_add(
      t * t2, polynomial(t2, -0.16666655f, 0.00833218f, -0.00019517f), t);
  float cosine = polynomial(t2, 1.0f, -0.5f, 0.0416666469f, -0.00138873675f,
                            2.44384512e-5f);
  uint32_t bits;
  std::memcpy(&bits, &cosine, sizeof bits);
  bits ^= word1 & 0x80000000;
  std::memcpy(&cosine, &bits, sizeof cosine);
  const bool swap = (word1 & 0x40000000) != 0;
  *normal0 = radius * (swap ? sine : cosine);
  *normal1 = radius * (swap ? cosine : sine);
}

}  // namespace
