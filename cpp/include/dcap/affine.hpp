// Affine maps of whole shape arrays.
#pragma once

#include "dcap/types.hpp"

namespace dcap {

[[nodiscard]] constexpr bool is_identity(const Matrix& m) noexcept {
    return m[0] == 1.0 && m[1] == 0.0 && m[2] == 0.0 && m[3] == 0.0 && m[4] == 1.0 && m[5] == 0.0;
}

// Whether boxes stay boxes.
[[nodiscard]] constexpr bool is_axis_aligned(const Matrix& m) noexcept {
    return (m[1] == 0.0 && m[3] == 0.0) || (m[0] == 0.0 && m[4] == 0.0);
}

// Map n >= 2 points and return the bounds of the images, in one pass; `legal` as in bounds_of.
// in and out must not overlap.
[[nodiscard]] Bounds map_bounded(const Matrix& m, const double* in, std::int64_t n, double* out, bool& legal) noexcept;

// Map one box (two corners) and write it as 2 points (a box) or 4 (a polygon); returns that number.
std::int64_t map_box(const Matrix& m, const double* in, BoxPolicy policy, double* out) noexcept;

// Map all shapes. Boxes stay boxes when the map is axis-aligned or the policy is kBounds, and become 4-point
// polygons otherwise.
//   out_xy       at least 2 * (points + 2 * boxes) numbers
//   num_points   points written
[[nodiscard]] Status transform(const Shapes& shapes, const Matrix& m, BoxPolicy policy, std::span<double> out_xy,
                               std::span<std::int64_t> out_offsets, std::span<std::uint8_t> out_kinds,
                               std::int64_t& num_points) noexcept;

}  // namespace dcap
