// How much two sets of shapes overlap.
#pragma once

#include "dcap/types.hpp"

namespace dcap {

// Intersection over union of every shape of a with every shape of b, by even-odd areas; out is row-major, one row per
// shape of a. Lines enclose nothing: their value is 0, as it is for two shapes without area.
[[nodiscard]] Status pairwise_iou(const Shapes& a, const Shapes& b, std::span<double> out) noexcept;

}  // namespace dcap
