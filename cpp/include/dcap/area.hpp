// Even-odd areas of rings, lengths of lines.
#pragma once

#include <vector>

#include "dcap/marks.hpp"
#include "dcap/types.hpp"

namespace dcap {

struct AreaScratch {
    CrossingScratch crossings;
    std::vector<Crossing> found;
    std::vector<Mark> marks_a, marks_b;
};

// Twice the signed area by the shoelace formula, relative to the first vertex.
[[nodiscard]] double shoelace(const double* xy, std::int64_t n) noexcept;

[[nodiscard]] double line_length(const double* xy, std::int64_t n) noexcept;

// Whether a ring crosses itself.
[[nodiscard]] Status find_simple(const double* xy, std::int64_t n, AreaScratch& scratch, bool& simple);

// Area inside the ring by the even-odd rule.
[[nodiscard]] Status even_odd_area(const double* xy, std::int64_t n, AreaScratch& scratch, double& area);

// Area inside both rings, each filled by the even-odd rule.
[[nodiscard]] Status intersection_area(const Ring& a, const Ring& b, AreaScratch& scratch, double& area);

// Area of boxes and polygons, length of lines; out has one number per shape.
[[nodiscard]] Status area_or_length(const Shapes& shapes, std::span<double> out) noexcept;

}  // namespace dcap
