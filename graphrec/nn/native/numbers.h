// Numbers as tables and activations store them; all arithmetic is float32.

#pragma once

#include <cstdint>
#include <cstring>

namespace graphrec {

using Bf16 = uint16_t;  // the upper half of a float32: bfloat16

inline float load(float value) { return value; }

inline float load(Bf16 value) {
  const uint32_t bits = static_cast<uint32_t>(value) << 16;
  float wide;
  std::memcpy(&wide, &bits, sizeof wide);
  return wide;
}

inline void store(float* at, float value) { *at = value; }

// To nearest even.
inline void store(Bf16* at, float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  const uint32_t rounded = (bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16;
  const bool nan = (bits & 0x7FFFFFFFu) > 0x7F800000u;
  *at = static_cast<Bf16>(nan ? 0x7FC0u : rounded);
}

}  // namespace graphrec
