// The convex region that shapes are clipped to, as half-planes and as a ring.
#pragma once

#include <array>
#include <span>
#include <vector>

#include "dcap/crossings.hpp"
#include "dcap/halfplane.hpp"
#include "dcap/types.hpp"

namespace dcap {

struct Region {
    std::vector<double> corners;
    std::vector<HalfPlane> planes;
    Bounds bounds{};
    bool is_rect = false;

    [[nodiscard]] Ring ring() const noexcept {
        return {corners.data(), static_cast<std::int64_t>(corners.size() / 2), 0};
    }
};

// kBadRegion unless x1 < x2 and y1 < y2, all finite.
[[nodiscard]] Status rect_region(const std::array<double, 4>& rect, Region& region);

// kBadRegion unless the corners are a convex polygon of 3 to 4096 points with an area, in either direction.
[[nodiscard]] Status convex_region(std::span<const double> corners, Region& region);

enum class Place : std::uint8_t { kInside, kOutside, kCut };

// Compare bounds with every half-plane; the ones that may cut are left in `active`. What only touches the region is
// outside, except lines, which may run along its border.
[[nodiscard]] Place locate(const Bounds& bounds, bool line, const Region& region,
                           std::vector<const HalfPlane*>& active);

// What rounding can leave of a shape that merely touches the region: a length, and an area.
struct Noise {
    double length, area;
};
[[nodiscard]] Noise noise_of(const Bounds& bounds, const Region& region) noexcept;

}  // namespace dcap
