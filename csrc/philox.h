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

// Ten rounds of multiply, swap and xor turn a counter into four random words.
AELAB_DEVICE Words philox4x32(Words c, uint32_t key0, uint32_t key1) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = uint64_t{0xD2511F53} * c.w[0];
    const uint64_t product1 = uint64_t{0xCD9E8D57} * c.w[2];
    c = {{static_cast<uint32_t>(product1 >> 32) ^ c.w[1] ^ key0,
          static_cast<uint32_t>(product1),
          static_cast<uint32_t>(product0 >> 32) ^ c.w[3] ^ key1,
          static_cast<uint32_t>(product0)}};
    key0 += 0x9E3779B9;  // the golden ratio
    key1 += 0xBB67AE85;  // sqrt(3) - 1
  }
  return c;
}

// log(u) for normal u > 0. u = 2^e m with m in [sqrt(1/2), sqrt(2)), and
// log(m) = 2 artanh(s), s = (m - 1) / (m + 1), as a series: error < 2e-9.
AELAB_DEVICE float log_series(float u) {
  int32_t bits;
  std::memcpy(&bits, &u, sizeof bits);
  const int32_t exponent = (bits - 0x3F3504F3) >> 23;  // 0x3F3504F3: sqrt(1/2)
  bits -= exponent * (1 << 23);
  float m;
  std::memcpy(&m, &bits, sizeof m);
  const float s = (m - 1.0f) / (m + 1.0f);
  const float s2 = s * s;
  const float series =
      1.0f +
      s2 * (1.0f / 3 + s2 * (1.0f / 5 + s2 * (1.0f / 7 + s2 * (1.0f / 9))));
  return static_cast<float>(exponent) * 0.693147181f + 2.0f * s * series;
}

// Two random words to two normal numbers: radius sqrt(-2 log u), u in (0, 1],
// and a uniform angle. Two bits of the second word pick the quadrant, so sine
// and cosine are needed on [-pi/4, pi/4) only, where Taylor's series is short.
AELAB_DEVICE void box_muller(uint32_t word0, uint32_t word1, float* normal0,
                             float* normal1) {
  // 2^-31 (word / 2 + 1/2); the halves because SIMD converts signed integers.
  const float u =
      (static_cast<float>(static_cast<int32_t>(word0 >> 1)) + 0.5f) *
      4.656612873e-10f;
  const float radius = std::sqrt(-2.0f * log_series(u));

  // The low 30 bits, centred: t = (pi/2) 2^-30 (low - 2^29).
  const int32_t low = static_cast<int32_t>(word1 & 0x3FFFFFFF) - (1 << 29);
  const float t = static_cast<float>(low) * 1.462918079e-9f;
  const float t2 = t * t;
  const float sine =
      t * (1.0f +
           t2 * (-1.0f / 6 + t2 * (1.0f / 120 + t2 * (-1.0f / 5040 +
                                                      t2 * (1.0f / 362880)))));
  const float cosine =
      1.0f +
      t2 * (-0.5f + t2 * (1.0f / 24 +
                          t2 * (-1.0f / 720 +
                                t2 * (1.0f / 40320 + t2 * (-1.0f / 3628800)))));

  // The two high bits turn by a quarter and by a half, without a branch.
  const float quarter =
      static_cast<float>(static_cast<int32_t>(word1 >> 30 & 1));
  const float half =
      1.0f - 2.0f * static_cast<float>(static_cast<int32_t>(word1 >> 31));
  *normal0 = radius * half * ((1.0f - quarter) * cosine - quarter * sine);
  *normal1 = radius * half * ((1.0f - quarter) * sine + quarter * cosine);
}

// The random words behind elements 4 * group ... 4 * group + 3 of the noise.
// The constant keeps them apart from torch's own Philox kernels of the same
// seed.
AELAB_DEVICE Words noise_words(Seed seed, uint64_t group) {
  const uint64_t key = seed.key ^ 0x61656C6162000000;  // "aelab"
  const Words counter = {{static_cast<uint32_t>(group),
                          static_cast<uint32_t>(group >> 32),
                          static_cast<uint32_t>(seed.offset),
                          static_cast<uint32_t>(seed.offset >> 32)}};
  return philox4x32(counter, static_cast<uint32_t>(key),
                    static_cast<uint32_t>(key >> 32));
}

}  // namespace
