// Pixels to the patches that Qwen3-VL's vision tower takes, in the order of Hugging Face's processor.
#pragma once

#include <cstdint>
#include <span>

#include "dcap/image.hpp"
#include "dcap/isa.hpp"
#include "dcap/status.hpp"

namespace dcap {

inline constexpr std::int64_t kPatch = 16;          // side of a patch, pixels
inline constexpr std::int64_t kBlock = 2 * kPatch;  // side of a block of 2x2 patches, which the model merges
inline constexpr std::int64_t kArea = kPatch * kPatch;

// Write all patches of an image whose sides are multiples of kBlock, one row of `out` each: block by block, within a
// block row by row. A row runs over (channel, time, y, x).
//   out     one of these, not overlapping the image:
//             float           (x - 127.5f) / 127.5f to the bit, both time steps
//             std::uint16_t   the same as bfloat16, rounded to nearest even
//             std::uint8_t    x, one time step only
[[nodiscard]] Status patchify(const Image& image, std::span<float> out, Isa isa = widest_isa()) noexcept;
[[nodiscard]] Status patchify(const Image& image, std::span<std::uint16_t> out, Isa isa = widest_isa()) noexcept;
[[nodiscard]] Status patchify(const Image& image, std::span<std::uint8_t> out, Isa isa = widest_isa()) noexcept;

}  // namespace dcap
