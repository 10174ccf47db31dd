#include "dcap/overlap.hpp"

#include <algorithm>
#include <new>
#include <vector>

#include "dcap/area.hpp"

namespace dcap {
namespace {

// What every pair needs to know of one shape.
struct Side {
    Bounds bounds{};
    double area = 0.0;
    double corners[8] = {};
    const double* xy = nullptr;
    std::int64_t n = 0;  // 0 for lines, which take no part
    bool box = false;
};

Status prepare(const Shapes& shapes, AreaScratch& scratch, std::vector<Side>& sides) {
    sides.resize(static_cast<std::size_t>(shapes.size()));
    for (std::int64_t i = 0; i < shapes.size(); ++i) {
        Side& side = sides[i];
        bool legal = true;
        const Bounds b = side.bounds = bounds_of(shapes.points(i), shapes.count(i), legal);
        if (!legal) return Status::kNotFinite;
        if (shapes.kinds[i] == kBox) {
            const double corners[8] = {b.x1, b.y1, b.x2, b.y1, b.x2, b.y2, b.x1, b.y2};
            std::copy(corners, corners + 8, side.corners);
            side.xy = side.corners;
            side.n = 4;
            side.box = true;
            side.area = (b.x2 - b.x1) * (b.y2 - b.y1);
        } else if (shapes.kinds[i] == kPolygon) {
            side.xy = shapes.points(i);
            side.n = shapes.count(i);
            const Status status = even_odd_area(side.xy, side.n, scratch, side.area);
            if (status != Status::kOk) return status;
        }
    }
    return Status::kOk;
}

Status pair_iou(const Side& a, const Side& b, AreaScratch& scratch, double& iou) {
    iou = 0.0;
    const double w = std::min(a.bounds.x2, b.bounds.x2) - std::max(a.bounds.x1, b.bounds.x1);
    const double h = std::min(a.bounds.y2, b.bounds.y2) - std::max(a.bounds.y1, b.bounds.y1);
    if (a.n == 0 || b.n == 0 || !(w > 0.0) || !(h > 0.0)) return Status::kOk;
    double both = w * h;
    if (!a.box || !b.box) {
        const Status status = intersection_area({a.xy, a.n, 0}, {b.xy, b.n, a.n}, scratch, both);
        if (status != Status::kOk) return status;
    }
    const double either = a.area + b.area - both;
    if (either > 0.0) iou = std::min(both / either, 1.0);
    return Status::kOk;
}

}  // namespace

Status pairwise_iou(const Shapes& a, const Shapes& b, std::span<double> out) noexcept try {
    if (const Status status = check_layout(a); status != Status::kOk) return status;
    if (const Status status = check_layout(b); status != Status::kOk) return status;
    if (out.size() != a.kinds.size() * b.kinds.size()) return Status::kBadArgument;
    AreaScratch scratch;
    std::vector<Side> rows, columns;
    if (const Status status = prepare(a, scratch, rows); status != Status::kOk) return status;
    if (const Status status = prepare(b, scratch, columns); status != Status::kOk) return status;
    std::size_t at = 0;
    for (const Side& row : rows) {
        for (const Side& column : columns) {
            if (const Status status = pair_iou(row, column, scratch, out[at++]); status != Status::kOk) return status;
        }
    }
    return Status::kOk;
} catch (const std::bad_alloc&) {
    return Status::kOutOfMemory;
}

}  // namespace dcap
