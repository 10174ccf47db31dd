#include "dcap/grid.hpp"

#include <algorithm>

#include "dcap/types.hpp"

namespace dcap {
namespace {

constexpr std::int64_t kMaxStarts = 8;  // comparing all sequences of a ring would take quadratic time

using Span = std::array<std::int64_t, 2>;

// The points of one shape, which are changed in place; no change needs more of them than there were.
struct Points {
    std::int64_t* xy;
    std::int64_t size;

    [[nodiscard]] const std::int64_t* at(std::int64_t i) const noexcept { return xy + 2 * i; }
    [[nodiscard]] std::int64_t* at(std::int64_t i) noexcept { return xy + 2 * i; }

    void set(std::int64_t i, Span point) noexcept { std::copy(point.begin(), point.end(), at(i)); }

    void reverse(std::int64_t first, std::int64_t last) noexcept {
        for (--last; first < last; ++first, --last) std::swap_ranges(at(first), at(first) + 2, at(last));
    }
};

bool same(const std::int64_t* a, const std::int64_t* b) noexcept { return a[0] == b[0] && a[1] == b[1]; }

// A point one unit further along an axis, or one unit back at the end of the grid.
Span beside(const std::int64_t* point, std::size_t axis, Span span) noexcept {
    Span moved{point[0], point[1]};
    moved[axis] += moved[axis] < span[axis] ? 1 : -1;
    return moved;
}

void widen(Points box, Span span) noexcept {
    for (std::size_t axis = 0; axis < 2; ++axis) {
        std::int64_t &low = box.xy[axis], &high = box.xy[2 + axis];
        if (low < high) continue;
        if (low < span[axis]) {
            high = low + 1;
        } else {
            high = low;
            --low;
        }
    }
}

Points without_repeats(Points p, bool closed) noexcept {
    std::int64_t n = 1;
    for (std::int64_t i = 1; i < p.size; ++i) {
        if (!same(p.at(i), p.at(n - 1))) p.set(n++, {p.at(i)[0], p.at(i)[1]});
    }
    if (closed && n > 1 && same(p.at(0), p.at(n - 1))) --n;
    return {p.xy, n};
}

// Where there are one or two distinct points, make a triangle over them, its third corner across their longer side.
Points with_area(Points p, Span span) noexcept {
    std::int64_t second = 0;
    for (std::int64_t i = 1; i < p.size; ++i) {
        if (same(p.at(i), p.at(0))) continue;
        if (second == 0) second = i;
        if (!same(p.at(i), p.at(second))) return p;
    }
    const Span other = second == 0 ? beside(p.at(0), 0, span) : Span{p.at(second)[0], p.at(second)[1]};
    const std::int64_t dx = other[0] - p.xy[0], dy = other[1] - p.xy[1];
    p.set(1, other);
    p.set(2, beside(other.data(), std::max(dx, -dx) >= std::max(dy, -dy) ? 1 : 0, span));
    return {p.xy, 3};
}

// Whether twice the signed area is negative; the sum is kept in two parts, since large rings overflow one.
bool runs_backwards(Points p) noexcept {
    std::int64_t high = 0, low = 0;
    for (std::int64_t i = 0; i < p.size; ++i) {
        const std::int64_t *a = p.at(i), *b = p.at(i + 1 < p.size ? i + 1 : 0);
        const std::int64_t term = a[0] * b[1] - b[0] * a[1];
        high += term >> 32;
        low += term & 0xffffffff;
    }
    return high + (low >> 32) < 0;
}

// Whether the ring read from i is smaller than from j.
bool reads_smaller(Points p, std::int64_t i, std::int64_t j) noexcept {
    for (std::int64_t k = 0; k < p.size; ++k) {
        const std::int64_t *a = p.at(i), *b = p.at(j);
        if (!same(a, b)) return a[0] < b[0] || (a[0] == b[0] && a[1] < b[1]);
        i = i + 1 < p.size ? i + 1 : 0;
        j = j + 1 < p.size ? j + 1 : 0;
    }
    return false;
}

std::int64_t start_of(Points p) noexcept {
    std::int64_t first = 0, num_starts = 0;
    for (std::int64_t i = 1; i < p.size; ++i) {
        const std::int64_t *a = p.at(i), *b = p.at(first);
        if (a[1] < b[1] || (a[1] == b[1] && a[0] < b[0])) first = i;
    }
    for (std::int64_t i = first; i < p.size; ++i) num_starts += same(p.at(i), p.at(first));
    if (num_starts == 1 || num_starts > kMaxStarts) return first;
    std::int64_t best = first;
    for (std::int64_t i = first + 1; i < p.size; ++i) {
        if (same(p.at(i), p.at(first)) && reads_smaller(p, i, best)) best = i;
    }
    return best;
}

Points canonical(Points p, std::uint8_t kind, Span span) noexcept {
    if (kind == kBox) {
        widen(p, span);
        return p;
    }
    p = without_repeats(p, kind == kPolygon);
    if (kind == kLine) {
        if (p.size == 1) p.set(p.size++, beside(p.at(0), 0, span));
        return p;
    }
    p = with_area(p, span);
    if (runs_backwards(p)) p.reverse(0, p.size);
    const std::int64_t start = start_of(p);
    p.reverse(0, start);
    p.reverse(start, p.size);
    p.reverse(0, p.size);
    return p;
}

Status check(const GridShapes& s, Span span) noexcept {
    const auto n = s.kinds.size();
    if (s.offsets.size() != n + 1 || s.offsets[0] != 0 || s.xy.size() % 2 != 0) return Status::kBadLayout;
    for (std::size_t i = 0; i < n; ++i) {
        if (s.kinds[i] > kLine || s.offsets[i + 1] < s.offsets[i]) return Status::kBadLayout;
        const auto count = s.offsets[i + 1] - s.offsets[i];
        if (s.kinds[i] == kBox ? count != 2 : count < (s.kinds[i] == kPolygon ? 3 : 2)) return Status::kBadLayout;
    }
    if (s.offsets[n] != static_cast<std::int64_t>(s.xy.size() / 2)) return Status::kBadLayout;
    if (std::min(span[0], span[1]) < 1 || std::max(span[0], span[1]) > kMaxGrid) return Status::kBadArgument;
    for (std::size_t i = 0; i < s.xy.size(); ++i) {
        if (s.xy[i] < 0 || s.xy[i] > span[i % 2]) return Status::kBadArgument;
    }
    return Status::kOk;
}

}  // namespace

Status canonicalize(const GridShapes& shapes, std::span<const std::int64_t> order, std::array<std::int64_t, 2> span,
                    std::span<std::int64_t> out_xy, std::span<std::int64_t> out_offsets,
                    std::int64_t& num_points) noexcept {
    if (const Status status = check(shapes, span); status != Status::kOk) return status;
    if (out_offsets.size() != order.size() + 1) return Status::kBadArgument;
    const auto room = static_cast<std::int64_t>(out_xy.size() / 2);
    std::int64_t n = 0;
    out_offsets[0] = 0;
    for (std::size_t place = 0; place < order.size(); ++place) {
        const std::int64_t i = order[place];
        if (i < 0 || i >= static_cast<std::int64_t>(shapes.kinds.size())) return Status::kBadArgument;
        const std::int64_t first = shapes.offsets[i], count = shapes.offsets[i + 1] - first;
        if (count > room - n) return Status::kBadArgument;
        std::copy_n(shapes.xy.data() + 2 * first, 2 * count, out_xy.data() + 2 * n);
        n += canonical({out_xy.data() + 2 * n, count}, shapes.kinds[i], span).size;
        out_offsets[place + 1] = n;
    }
    num_points = n;
    return Status::kOk;
}

}  // namespace dcap
