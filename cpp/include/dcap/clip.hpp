// Exact clipping of boxes, rings and lines to a convex region, with the affine map in front of it in the same pass.
#pragma once

#include "dcap/affine.hpp"
#include "dcap/types.hpp"

namespace dcap {

struct ClipOptions {
    Matrix matrix{1.0, 0.0, 0.0, 0.0, 1.0, 0.0};
    BoxPolicy box_policy = BoxPolicy::kPolygon;
    bool keep_largest = false;
};

// Arrays to fill. What does not fit is counted but not written, so a caller may enlarge them and call again.
struct ClipOutput {
    std::span<double> xy;
    std::span<std::int64_t> offsets;  // one more than kinds
    std::span<std::uint8_t> kinds;
    std::span<std::int64_t> source;  // input shape of each output shape
    std::span<double> fraction;      // visible share of that input shape, all its parts together
    std::int64_t num_shapes = 0;
    std::int64_t num_points = 0;
};

// Map the shapes and clip them to the rectangle x1, y1, x2, y2.
[[nodiscard]] Status clip_rect(const Shapes& shapes, const ClipOptions& options, const std::array<double, 4>& rect,
                               ClipOutput& out) noexcept;

// Map the shapes and clip them to a convex polygon of at least 3 vertices, in either direction.
[[nodiscard]] Status clip_convex(const Shapes& shapes, const ClipOptions& options, std::span<const double> region,
                                 ClipOutput& out) noexcept;

}  // namespace dcap
