// The words of many groups at once: the only lines that name an instruction.
//
// Philox multiplies 32 by 32 bits to 64. Kept in the low half of 64-bit lanes a
// word is ready for the one instruction that does so, and the rubbish in the
// high half does no harm: compilers do not see that, and are half as fast. Four
// vectors take turns, because each product has to wait for the one before.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "philox.h"

namespace {

constexpr int kGroups = 32;  // groups of four elements that are drawn at once

#if defined(__AVX2__)

#if defined(__AVX512F__)
using Lanes = uint64_t __attribute__((vector_size(64)));

inline Lanes product(Lanes x, uint32_t y) {  // of the low halves
  return (Lanes)_mm512_mul_epu32((__m512i)x, _mm512_set1_epi64(y));
}
#else
using Lanes = uint64_t __attribute__((vector_size(32)));

inline Lanes product(Lanes x, uint32_t y) {
  return (Lanes)_mm256_mul_epu32((__m256i)x, _mm256_set1_epi64x(y));
}
#endif

// word[j][i] = noise_words(seed, group + i).w[j]
inline void words_of_groups(Seed seed, uint64_t group,
                            uint32_t word[4][kGroups]) {
  constexpr int kWidth = sizeof(Lanes) / sizeof(uint64_t), kTurns = 4;
  Lanes counting;
  for (int i = 0; i < kWidth; ++i) {
    counting[i] = i;
  }
  for (int first = 0; first < kGroups; first += kTurns * kWidth) {
    Lanes c0[kTurns], c1[kTurns], c2[kTurns], c3[kTurns];
    for (int turn = 0; turn < kTurns; ++turn) {
      c0[turn] = counting + (group + first + turn * kWidth);
      c1[turn] = c0[turn] >> 32;
      c2[turn] = Lanes{} + seed.offset;
      c3[turn] = c2[turn] >> 32;
    }
    const uint64_t key = seed.key ^ kSalt;
    uint32_t key0 = static_cast<uint32_t>(key), key1 = key >> 32;
    for (int round = 0; round < kRounds; ++round) {
      for (int turn = 0; turn < kTurns; ++turn) {
        const Lanes product0 = product(c0[turn], kMultiply0);
        const Lanes product1 = product(c2[turn], kMultiply1);
        c0[turn] = (product1 >> 32) ^ c1[turn] ^ uint64_t { key0 };
        c1[turn] = product1;
        c2[turn] = (product0 >> 32) ^ c3[turn] ^ uint64_t { key1 };
        c3[turn] = product0;
      }
      key0 += kAdd0;
      key1 += kAdd1;
    }
    for (int turn = 0; turn < kTurns; ++turn) {
      for (int i = 0; i < kWidth; ++i) {
        const int column = first + turn * kWidth + i;
        word[0][column] = static_cast<uint32_t>(c0[turn][i]);
        word[1][column] = static_cast<uint32_t>(c1[turn][i]);
        word[2][column] = static_cast<uint32_t>(c2[turn][i]);
        word[3][column] = static_cast<uint32_t>(c3[turn][i]);
      }
    }
  }
}

#else

// The plain twin.
inline void words_of_groups(Seed seed, uint64_t group,
                            uint32_t word[4][kGroups]) {
  for (int i = 0; i < kGroups; ++i) {
    const Words words = noise_words(seed, group + i);
    for (int j = 0; j < 4; ++j) {
      word[j][i] = words.w[j];
    }
  }
}

#endif

}  // namespace
