#include "dcap/area.hpp"

#include <algorithm>
#include <cmath>
#include <new>

namespace dcap {
namespace {

// Append the crossings of rings[ring] with itself.
Status mark_own(std::span<const Ring> rings, std::int64_t ring, AreaScratch& s, std::vector<Mark>& out) {
    const Ring& r = rings[ring];
    out.clear();
    s.found.clear();
    if (r.n < 4 || is_star_shaped(r.xy, r.n)) return Status::kOk;
    if (const Status status = find_crossings(r, r, true, s.crossings, s.found); status != Status::kOk) return status;
    for (const Crossing& c : s.found) {
        add_mark(rings, ring, c.edge_a, ring, c.edge_b, c, out);
        add_mark(rings, ring, c.edge_b, ring, c.edge_a, c, out);
    }
    return Status::kOk;
}

struct Walk {
    double whole, shared;
};

// Twice the even-odd area of the ring, and of its boundary's part inside the other ring.
// Along a ring the side of the interior changes at each crossing with itself, and being inside the other ring changes
// at each crossing with that one; so Green's theorem needs no order among the edges.
Walk walk(const Ring& r, std::int64_t self, const std::vector<Mark>& marks, bool inside, double ox,
          double oy) noexcept {
    double side = 1.0, whole = 0.0, shared = 0.0;
    std::size_t at = 0;
    for (std::int64_t i = 0; i < r.n; ++i) {
        double px = r.xy[2 * i] - ox, py = r.xy[2 * i + 1] - oy;
        for (; at < marks.size() && marks[at].edge == i; ++at) {
            const double qx = marks[at].x - ox, qy = marks[at].y - oy;
            const double term = side * (px * qy - py * qx);
            whole += term;
            shared += inside ? term : 0.0;
            if (marks[at].other == self) {
                side = -side;
            } else {
                inside = !inside;
            }
            px = qx;
            py = qy;
        }
        const double* q = r.xy + 2 * (i + 1 == r.n ? 0 : i + 1);
        const double term = side * (px * (q[1] - oy) - py * (q[0] - ox));
        whole += term;
        shared += inside ? term : 0.0;
    }
    return whole < 0.0 ? Walk{-whole, -shared} : Walk{whole, shared};
}

}  // namespace

double shoelace(const double* xy, std::int64_t n) noexcept {
    const double ox = xy[0], oy = xy[1];
    double px = xy[2] - ox, py = xy[3] - oy;
    // Two sums, since one would wait for itself at every edge.
    double even = 0.0, odd = 0.0;
    const auto add = [&](std::int64_t i, double& sum) {
        const double qx = xy[2 * i] - ox, qy = xy[2 * i + 1] - oy;
        sum += px * qy - py * qx;
        px = qx;
        py = qy;
    };
    std::int64_t i = 2;
    for (; i + 1 < n; i += 2) {
        add(i, even);
        add(i + 1, odd);
    }
    if (i < n) add(i, even);
    return even + odd;
}

double line_length(const double* xy, std::int64_t n) noexcept {
    double sum = 0.0;
    for (std::int64_t i = 1; i < n; ++i) {
        const double dx = xy[2 * i] - xy[2 * i - 2], dy = xy[2 * i + 1] - xy[2 * i - 1];
        sum += std::sqrt(dx * dx + dy * dy);
    }
    return sum;
}

Status find_simple(const double* xy, std::int64_t n, AreaScratch& s, bool& simple) {
    const Ring rings[] = {{xy, n, 0}};
    const Status status = mark_own(rings, 0, s, s.marks_a);
    simple = s.marks_a.empty();
    return status;
}

Status even_odd_area(const double* xy, std::int64_t n, AreaScratch& s, double& area) {
    const Ring rings[] = {{xy, n, 0}};
    if (const Status status = mark_own(rings, 0, s, s.marks_a); status != Status::kOk) return status;
    if (s.marks_a.empty()) {
        area = 0.5 * std::abs(shoelace(xy, n));
        return Status::kOk;
    }
    sort_marks(rings, 0, false, s.marks_a);
    area = 0.5 * walk(rings[0], 0, s.marks_a, false, xy[0], xy[1]).whole;
    return Status::kOk;
}

Status intersection_area(const Ring& a, const Ring& b, AreaScratch& s, double& area) {
    const Ring rings[] = {a, b};
    if (const Status status = mark_own(rings, 0, s, s.marks_a); status != Status::kOk) return status;
    if (const Status status = mark_own(rings, 1, s, s.marks_b); status != Status::kOk) return status;
    s.found.clear();
    if (const Status status = find_crossings(a, b, false, s.crossings, s.found); status != Status::kOk) return status;
    for (const Crossing& c : s.found) {
        add_mark(rings, 0, c.edge_a, 1, c.edge_b, c, s.marks_a);
        add_mark(rings, 1, c.edge_b, 0, c.edge_a, c, s.marks_b);
    }
    sort_marks(rings, 0, false, s.marks_a);
    sort_marks(rings, 1, false, s.marks_b);
    // Only what lies inside b counts, so an origin at b keeps the products small even for a far larger ring a.
    const double ox = b.xy[0], oy = b.xy[1];
    const Walk wa = walk(a, 0, s.marks_a, contains(b, a.xy, a.base), ox, oy);
    const Walk wb = walk(b, 1, s.marks_b, contains(a, b.xy, b.base), ox, oy);
    const double twice = wa.shared + wb.shared;
    area = 0.5 * (twice > 0.0 ? twice : 0.0);
    return Status::kOk;
}

Status area_or_length(const Shapes& shapes, std::span<double> out) noexcept try {
    if (const Status status = check_layout(shapes); status != Status::kOk) return status;
    if (out.size() != shapes.kinds.size()) return Status::kBadArgument;
    AreaScratch scratch;
    for (std::int64_t i = 0; i < shapes.size(); ++i) {
        const double* p = shapes.points(i);
        const std::int64_t n = shapes.count(i);
        bool legal = true;
        (void)bounds_of(p, n, legal);
        if (!legal) return Status::kNotFinite;
        if (shapes.kinds[i] == kBox) {
            out[i] = std::abs((p[2] - p[0]) * (p[3] - p[1]));
        } else if (shapes.kinds[i] == kLine) {
            out[i] = line_length(p, n);
        } else if (const Status status = even_odd_area(p, n, scratch, out[i]); status != Status::kOk) {
            return status;
        }
    }
    return Status::kOk;
} catch (const std::bad_alloc&) {
    return Status::kOutOfMemory;
}

}  // namespace dcap
