// The ragged layout that every kernel reads, and its check.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "dcap/lanes.hpp"
#include "dcap/status.hpp"

namespace dcap {

// Products of two differences, and sums of millions of them, stay finite below this magnitude.
inline constexpr double kMaxCoordinate = 1e150;

enum Kind : std::uint8_t { kBox = 0, kPolygon = 1, kLine = 2 };
enum class BoxPolicy : std::uint8_t { kPolygon = 0, kBounds = 1 };

// x' = a x + b y + c, y' = d x + e y + f, in the order a, b, c, d, e, f.
using Matrix = std::array<double, 6>;

// Shape i owns the points xy[2 * offsets[i]] .. xy[2 * offsets[i + 1]]; boxes hold two corners.
struct Shapes {
    std::span<const double> xy;
    std::span<const std::int64_t> offsets;
    std::span<const std::uint8_t> kinds;

    [[nodiscard]] std::int64_t size() const noexcept { return static_cast<std::int64_t>(kinds.size()); }
    [[nodiscard]] std::int64_t count(std::int64_t i) const noexcept { return offsets[i + 1] - offsets[i]; }
    [[nodiscard]] const double* points(std::int64_t i) const noexcept { return xy.data() + 2 * offsets[i]; }
};

// Whether offsets rise from 0 to the number of points and every shape has the points its kind needs.
[[nodiscard]] inline Status check_layout(const Shapes& s) noexcept {
    const auto n = s.kinds.size();
    if (s.offsets.size() != n + 1 || s.offsets[0] != 0 || s.xy.size() % 2 != 0) return Status::kBadLayout;
    for (std::size_t i = 0; i < n; ++i) {
        if (s.kinds[i] > kLine || s.offsets[i + 1] < s.offsets[i]) return Status::kBadLayout;
        const auto count = s.offsets[i + 1] - s.offsets[i];
        const bool legal = s.kinds[i] == kBox ? count == 2 : count >= (s.kinds[i] == kPolygon ? 3 : 2);
        if (!legal) return Status::kBadLayout;
    }
    return s.offsets[n] == static_cast<std::int64_t>(s.xy.size() / 2) ? Status::kOk : Status::kBadLayout;
}

struct Bounds {
    double x1, y1, x2, y2;
};

// Bounds of points given one by one; one lane for x and one for y. Two of them in turn hide the latency of a minimum.
struct Extent {
    Lanes low, high, sum;

    explicit Extent(Lanes p) noexcept : Extent(p, p, p) {}
    Extent(Lanes least, Lanes most, Lanes total) noexcept : low(least), high(most), sum(total) {}
    void add(const Extent& other) noexcept {
        low = smaller(other.low, low);
        high = larger(other.high, high);
        sum += other.sum;  // NaN for NaN, which the minimum skips; what else could overflow is too large anyway
    }
    // `legal` is false when a point was not finite or too large.
    [[nodiscard]] Bounds bounds(bool& legal) const noexcept {
        legal = sum[0] == sum[0] && sum[1] == sum[1] && low[0] >= -kMaxCoordinate && low[1] >= -kMaxCoordinate &&
                high[0] <= kMaxCoordinate && high[1] <= kMaxCoordinate;
        return {low[0], low[1], high[0], high[1]};
    }
};

// Bounds of n >= 1 points; `legal` is false when one is not finite or too large.
[[nodiscard]] inline Bounds bounds_of(const double* xy, std::int64_t n, bool& legal) noexcept {
    Extent even(load(xy)), odd = even;
    std::int64_t i = 1;
    for (; i + 1 < n; i += 2) {
        even.add(Extent(load(xy + 2 * i)));
        odd.add(Extent(load(xy + 2 * i + 2)));
    }
    if (i < n) even.add(Extent(load(xy + 2 * i)));
    even.add(odd);
    return even.bounds(legal);
}

}  // namespace dcap
