// Rectangles of least area around shapes.
#pragma once

#include "dcap/types.hpp"

namespace dcap {

// The rectangle of least area around each shape, in any direction: 4 corners clockwise on screen (y down), from the
// top-most, then left-most one. out has 8 numbers per shape.
[[nodiscard]] Status min_area_rect(const Shapes& shapes, std::span<double> out) noexcept;

}  // namespace dcap
