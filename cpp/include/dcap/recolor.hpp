// Colour steps that map each pixel on its own: any number of them in one pass over the image.
#pragma once

#include <cstdint>
#include <span>

#include "dcap/image.hpp"
#include "dcap/isa.hpp"
#include "dcap/status.hpp"

namespace dcap {

// What a step does, and which numbers it takes.
enum Recolor : std::uint8_t {
    kTable = 0,       // every value becomes its entry in the step's table
    kSaturation = 1,  // factor: 0 is grey, 1 changes nothing
    kHsv = 2,         // turn of the hue in sixths of the colour circle, 0..6; factors of saturation and value
};

inline constexpr std::int64_t kTableSize = 256;
inline constexpr std::int64_t kNumbers = 3;

// Steps in order; each rounds to 8 bits before the next one.
struct RecolorSteps {
    std::span<const std::uint8_t> kinds;   // Recolor, one per step
    std::span<const std::uint8_t> tables;  // kTableSize per step, read for kTable only
    std::span<const float> numbers;        // kNumbers per step, finite and at least 0 where they are read
};

// Apply steps to interleaved RGB values. `out` has as many values and is `rgb` itself or does not overlap it.
[[nodiscard]] Status recolor(std::span<const std::uint8_t> rgb, const RecolorSteps& steps, std::span<std::uint8_t> out,
                             Isa isa = widest_isa()) noexcept;

}  // namespace dcap
