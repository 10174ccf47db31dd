// Exact clipping of boxes, rings and lines to a convex region, with the affine map in front of it in the same pass.
#pragma once

#include <algorithm>

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

    // Append a shape as it is.
    void add(const double* points, std::int64_t n, std::uint8_t kind, std::int64_t from, double share) noexcept {
        const std::int64_t shape = num_shapes++, point = num_points;
        num_points += n;
        if (num_points <= static_cast<std::int64_t>(xy.size() / 2)) {
            double* to = xy.data() + 2 * point;
            if (points != to) std::copy(points, points + 2 * n, to);
        }
        if (shape < static_cast<std::int64_t>(kinds.size())) {
            kinds[shape] = kind;
            source[shape] = from;
            fraction[shape] = share;
            offsets[shape + 1] = num_points;
        }
    }
    // Append what was cut, whose zeros have no sign: which of two equal zeros a minimum takes is nobody's business.
    void add_cut(const double* points, std::int64_t n, std::uint8_t kind, std::int64_t from, double share) noexcept {
        add(points, n, kind, from, share);
        if (num_points > static_cast<std::int64_t>(xy.size() / 2)) return;
        double* to = xy.data() + 2 * (num_points - n);
        for (std::int64_t i = 0; i < 2 * n; ++i) to[i] += 0.0;
    }
};

[[nodiscard]] inline double visible_share(double visible, double whole) noexcept {
    const double share = visible / whole;
    return share < 1.0 ? share : 1.0;
}

// Map the shapes and clip them to the rectangle x1, y1, x2, y2.
[[nodiscard]] Status clip_rect(const Shapes& shapes, const ClipOptions& options, const std::array<double, 4>& rect,
                               ClipOutput& out) noexcept;

// Map the shapes and clip them to a convex polygon of at least 3 vertices, in either direction.
[[nodiscard]] Status clip_convex(const Shapes& shapes, const ClipOptions& options, std::span<const double> region,
                                 ClipOutput& out) noexcept;

}  // namespace dcap
