#include "dcap/outside.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "dcap/types.hpp"

namespace dcap {
namespace {

constexpr int kScanlines = 8;

// Where the region begins and ends on each scanline of one row of pixels; the width and 0 where it is absent.
struct Spans {
    std::array<double, kScanlines> left, right;

    [[nodiscard]] double first() const noexcept { return *std::min_element(left.begin(), left.end()); }
    [[nodiscard]] double inner() const noexcept { return *std::max_element(left.begin(), left.end()); }
    [[nodiscard]] double outer() const noexcept { return *std::min_element(right.begin(), right.end()); }
    [[nodiscard]] double end() const noexcept { return *std::max_element(right.begin(), right.end()); }
};

Spans spans_of(std::span<const double> region, double row, double width) noexcept {
    Spans s;
    s.left.fill(width);
    s.right.fill(0.0);
    const std::size_t n = region.size() / 2;
    for (std::size_t i = 0; i < n; ++i) {
        const double *p = region.data() + 2 * i, *q = region.data() + 2 * (i + 1 < n ? i + 1 : 0);
        const double low = std::min(p[1], q[1]), high = std::max(p[1], q[1]);
        if (high <= row || low >= row + 1.0) continue;
        const double slope = (q[0] - p[0]) / (q[1] - p[1]);
        for (int k = 0; k < kScanlines; ++k) {
            const double y = row + (k + 0.5) / kScanlines;
            if (y < low || y >= high) continue;
            // An edge that is all but level may give NaN, which no comparison takes.
            const double x = p[0] + (y - p[1]) * slope;
            if (x < s.left[k]) s.left[k] = x;
            if (x > s.right[k]) s.right[k] = x;
        }
    }
    for (double& x : s.left) x = std::max(x, 0.0);
    for (double& x : s.right) x = std::min(x, width);
    return s;
}

void blend(const Spans& s, std::int64_t from, std::int64_t to, std::uint8_t grey, std::uint8_t* row) noexcept {
    for (std::int64_t column = from; column < to; ++column) {
        const auto x = static_cast<double>(column);
        double inside = 0.0;
        for (int k = 0; k < kScanlines; ++k) {
            inside += std::max(std::min(s.right[k], x + 1.0) - std::max(s.left[k], x), 0.0);
        }
        for (std::int64_t channel = 0; channel < kChannels; ++channel) {
            std::uint8_t& value = row[kChannels * column + channel];
            const double mixed = grey + inside / kScanlines * (static_cast<double>(value) - grey);
            // Rounds half to even: behind 1.5 * 2^52 a double has no bits left for fractions.
            value = static_cast<std::uint8_t>(mixed + 6755399441055744.0 - 6755399441055744.0);
        }
    }
}

void fill_row(const Spans& s, std::int64_t width, std::uint8_t grey, std::uint8_t* row) noexcept {
    const auto first = static_cast<std::int64_t>(std::floor(s.first()));
    const auto end = static_cast<std::int64_t>(std::ceil(s.end()));
    if (first >= end) {
        std::fill_n(row, kChannels * width, grey);
        return;
    }
    std::fill(row, row + kChannels * first, grey);
    std::fill(row + kChannels * end, row + kChannels * width, grey);
    // Pixels from `inner` to `outer` lie wholly inside.
    const auto inner = std::min(static_cast<std::int64_t>(std::ceil(s.inner())), end);
    const auto outer = std::max(static_cast<std::int64_t>(std::floor(s.outer())), inner);
    blend(s, first, inner, grey, row);
    blend(s, outer, end, grey, row);
}

}  // namespace

Status fill_outside(std::span<const double> region, std::uint8_t grey, const Canvas& out) noexcept {
    if (!is_image(out.rgb.size(), out.height, out.width)) return Status::kBadArgument;
    if (region.size() % 2 != 0) return Status::kBadArgument;
    for (const double v : region) {
        if (!(std::fabs(v) <= kMaxCoordinate)) return Status::kNotFinite;
    }
    for (std::int64_t y = 0; y < out.height; ++y) {
        const Spans spans = spans_of(region, static_cast<double>(y), static_cast<double>(out.width));
        fill_row(spans, out.width, grey, out.rgb.data() + kChannels * out.width * y);
    }
    return Status::kOk;
}

}  // namespace dcap
