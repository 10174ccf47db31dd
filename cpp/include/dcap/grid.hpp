// Shapes on the integer grid of answer texts: legal, and the same however a ring was drawn.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "dcap/status.hpp"

namespace dcap {

// Largest coordinate of a grid.
inline constexpr std::int64_t kMaxGrid = (std::int64_t{1} << 31) - 1;

// The layout of `Shapes`, with whole numbers.
struct GridShapes {
    std::span<const std::int64_t> xy;
    std::span<const std::int64_t> offsets;
    std::span<const std::uint8_t> kinds;
};

// Write shapes as an answer has them. Points that repeat the one before go, as does the repeated first point of a ring.
// What rounding made flat is widened: a box to one unit, a line to a second point one unit beside the first, a polygon
// to a triangle of one unit's height. A polygon begins at its top-most, then left-most vertex and runs clockwise on
// screen; where it meets that vertex again, at the smallest sequence, unless it meets it more than 8 times.
//   shapes       coordinates within 0..span
//   order        which shape stands at each place
//   span         largest x and y
//   out_xy       as many points as the shapes of `order` have together
//   out_offsets  one more than `order`
//   num_points   points that were written
[[nodiscard]] Status canonicalize(const GridShapes& shapes, std::span<const std::int64_t> order,
                                  std::array<std::int64_t, 2> span, std::span<std::int64_t> out_xy,
                                  std::span<std::int64_t> out_offsets, std::int64_t& num_points) noexcept;

}  // namespace dcap
