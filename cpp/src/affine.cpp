#include "dcap/affine.hpp"

#include <algorithm>
#include <cmath>

namespace dcap {

void map_points(const Matrix& m, const double* in, std::int64_t n, double* out) noexcept {
    const Lanes of_x{m[0], m[3]}, of_y{m[1], m[4]}, shift{m[2], m[5]};
    for (std::int64_t i = 0; i < n; ++i) {
        const double x = in[2 * i], y = in[2 * i + 1];
        store(out + 2 * i, of_x * Lanes{x, x} + of_y * Lanes{y, y} + shift);
    }
}

Bounds map_bounded(const Matrix& m, const double* in, std::int64_t n, double* out, bool& legal) noexcept {
    const Lanes of_x{m[0], m[3]}, of_y{m[1], m[4]}, shift{m[2], m[5]};
    const auto map = [&](std::int64_t i) {
        const double x = in[2 * i], y = in[2 * i + 1];
        const Lanes p = of_x * Lanes{x, x} + of_y * Lanes{y, y} + shift;
        store(out + 2 * i, p);
        return p;
    };
    Extent even(map(0)), odd = even;
    std::int64_t i = 1;
    for (; i + 1 < n; i += 2) {
        even.add(map(i));
        odd.add(map(i + 1));
    }
    if (i < n) even.add(map(i));
    return even.join(odd, legal);
}

std::int64_t map_box(const Matrix& m, const double* in, BoxPolicy policy, double* out) noexcept {
    const bool keeps = is_axis_aligned(m);
    // Corners clockwise on screen; an axis-aligned map needs only the two opposite ones.
    const double corners[8] = {in[0], in[1], in[2], in[1], in[2], in[3], in[0], in[3]};
    double q[8];
    map_points(m, corners, 4, q);
    if (!keeps && policy == BoxPolicy::kPolygon) {
        std::copy(q, q + 8, out);
        return 4;
    }
    out[0] = std::min(std::min(q[0], q[2]), std::min(q[4], q[6]));
    out[1] = std::min(std::min(q[1], q[3]), std::min(q[5], q[7]));
    out[2] = std::max(std::max(q[0], q[2]), std::max(q[4], q[6]));
    out[3] = std::max(std::max(q[1], q[3]), std::max(q[5], q[7]));
    return 2;
}

Status transform(const Shapes& shapes, const Matrix& m, BoxPolicy policy, std::span<double> out_xy,
                 std::span<std::int64_t> out_offsets, std::span<std::uint8_t> out_kinds,
                 std::int64_t& num_points) noexcept {
    if (const Status status = check_layout(shapes); status != Status::kOk) return status;
    const std::int64_t n = shapes.size();
    if (out_offsets.size() != shapes.offsets.size() || out_kinds.size() != shapes.kinds.size()) {
        return Status::kBadArgument;
    }
    const std::int64_t capacity = static_cast<std::int64_t>(out_xy.size() / 2);
    const bool polygons = !is_axis_aligned(m) && policy == BoxPolicy::kPolygon;
    bool legal = true;
    std::int64_t at = 0;
    out_offsets[0] = 0;
    for (std::int64_t i = 0; i < n; ++i) {
        const bool box = shapes.kinds[i] == kBox;
        const std::int64_t count = box ? (polygons ? 4 : 2) : shapes.count(i);
        if (at + count > capacity) return Status::kBadArgument;
        double* out = out_xy.data() + 2 * at;
        if (box) {
            map_box(m, shapes.points(i), policy, out);
        } else {
            map_points(m, shapes.points(i), count, out);
        }
        for (std::int64_t j = 0; j < 2 * count; ++j) legal &= std::abs(out[j]) <= kMaxCoordinate;
        at += count;
        out_offsets[i + 1] = at;
        out_kinds[i] = box && polygons ? static_cast<std::uint8_t>(kPolygon) : shapes.kinds[i];
    }
    num_points = at;
    return legal ? Status::kOk : Status::kNotFinite;
}

}  // namespace dcap
