// Fewer points for rings and lines.
#pragma once

#include "dcap/types.hpp"

namespace dcap {

// Choose at most max_points points of every polygon and line by Visvalingam-Whyatt; never fewer than 3 or 2.
//   keep   one byte per point, 1 where it stays
//   score  per shape: IoU of a polygon with its original, kept share of a line's length, 1 for what is untouched
[[nodiscard]] Status simplify(const Shapes& shapes, std::int64_t max_points, std::span<std::uint8_t> keep,
                              std::span<double> score) noexcept;

}  // namespace dcap
