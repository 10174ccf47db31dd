#include "dcap/region.hpp"

#include <algorithm>
#include <cmath>

#include "dcap/area.hpp"

namespace dcap {
namespace {

constexpr std::int64_t kMaxCorners = 4096;
constexpr double kRounding = 1e-15;
constexpr double kSlack = 1e-9;  // how far a corner may lie outside another side, as a share of the size

// One half-plane per side, pointing inwards.
void make_planes(Region& region) {
    const Ring r = region.ring();
    const double turn = shoelace(r.xy, r.n) > 0.0 ? 1.0 : -1.0;
    for (std::int64_t i = 0; i < r.n; ++i) {
        const double* p = r.xy + 2 * i;
        const double* q = r.xy + 2 * (i + 1 == r.n ? 0 : i + 1);
        const double dx = q[0] - p[0], dy = q[1] - p[1];
        const double length = std::sqrt(dx * dx + dy * dy);
        if (!(length > 0.0)) continue;
        region.planes.push_back({-turn * dy / length, turn * dx / length, p[0], p[1]});
    }
}

}  // namespace

Status rect_region(const std::array<double, 4>& rect, Region& region) {
    const auto [x1, y1, x2, y2] = rect;
    region.corners = {x1, y1, x2, y1, x2, y2, x1, y2};
    bool legal = true;
    region.bounds = bounds_of(region.corners.data(), 4, legal);
    if (!legal || !(x1 < x2) || !(y1 < y2)) return Status::kBadRegion;
    region.is_rect = true;
    region.planes = {{1.0, 0.0, x1, y1}, {0.0, 1.0, x1, y1}, {-1.0, 0.0, x2, y2}, {0.0, -1.0, x2, y2}};
    return Status::kOk;
}

Status convex_region(std::span<const double> corners, Region& region) {
    const std::int64_t n = static_cast<std::int64_t>(corners.size() / 2);
    if (n < 3 || n > kMaxCorners || corners.size() % 2 != 0) return Status::kBadRegion;
    bool legal = true;
    const Bounds b = region.bounds = bounds_of(corners.data(), n, legal);
    if (!legal || shoelace(corners.data(), n) == 0.0) return Status::kBadRegion;
    region.corners.assign(corners.begin(), corners.end());
    make_planes(region);
    const double slack = -kSlack * ((b.x2 - b.x1) + (b.y2 - b.y1));
    for (const HalfPlane& plane : region.planes) {
        for (std::int64_t i = 0; i < n; ++i) {
            if (plane.height(corners[2 * i], corners[2 * i + 1]) < slack) return Status::kBadRegion;
        }
    }
    return Status::kOk;
}

Place locate(const Bounds& b, bool line, const Region& region, std::vector<const HalfPlane*>& active) {
    active.clear();
    const Bounds& r = region.bounds;
    // Most shapes are not cut; for a rectangle the four heights are plain differences.
    if (region.is_rect) {
        if (b.x1 >= r.x1 && b.y1 >= r.y1 && b.x2 <= r.x2 && b.y2 <= r.y2) return Place::kInside;
        if (b.x2 < r.x1 || b.y2 < r.y1 || b.x1 > r.x2 || b.y1 > r.y2) return Place::kOutside;
    }
    for (const HalfPlane& p : region.planes) {
        const double low = p.height(p.nx >= 0.0 ? b.x1 : b.x2, p.ny >= 0.0 ? b.y1 : b.y2);
        if (low >= 0.0) continue;
        const double high = p.height(p.nx >= 0.0 ? b.x2 : b.x1, p.ny >= 0.0 ? b.y2 : b.y1);
        if (high < 0.0 || (high == 0.0 && !line)) return Place::kOutside;
        active.push_back(&p);
    }
    return active.empty() ? Place::kInside : Place::kCut;
}

Noise noise_of(const Bounds& b, const Region& region) noexcept {
    const Bounds& r = region.bounds;
    const double far = std::max(std::max(std::abs(b.x1), std::abs(b.x2)), std::max(std::abs(b.y1), std::abs(b.y2)));
    const double length = kRounding * far;
    return {length, length * (std::min(b.x2 - b.x1, r.x2 - r.x1) + std::min(b.y2 - b.y1, r.y2 - r.y1))};
}

}  // namespace dcap
