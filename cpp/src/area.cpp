#include "dcap/area.hpp"

#include <algorithm>
#include <cmath>
#include <new>

namespace dcap {
namespace {

double along(const Ring& r, std::int64_t edge, double x, double y) noexcept {
    const double* p = r.xy + 2 * edge;
    const double* q = r.xy + 2 * (edge + 1 == r.n ? 0 : edge + 1);
    return (x - p[0]) * (q[0] - p[0]) + (y - p[1]) * (q[1] - p[1]);
}

void mark(const Ring& r, std::int64_t edge, const Crossing& c, bool own, std::vector<Mark>& out) {
    out.push_back({edge, static_cast<std::int64_t>(out.size()), along(r, edge, c.x, c.y), c.x, c.y, own});
}

Status mark_own(const Ring& r, AreaScratch& s, std::vector<Mark>& out) {
    out.clear();
    s.found.clear();
    if (r.n < 4 || is_star_shaped(r.xy, r.n)) return Status::kOk;
    if (const Status status = find_crossings(r, r, true, s.crossings, s.found); status != Status::kOk) return status;
    for (const Crossing& c : s.found) {
        mark(r, c.edge_a, c, true, out);
        mark(r, c.edge_b, c, true, out);
    }
    return Status::kOk;
}

void sort_marks(std::vector<Mark>& marks) {
    std::sort(marks.begin(), marks.end(), [](const Mark& p, const Mark& q) {
        if (p.edge != q.edge) return p.edge < q.edge;
        if (p.key != q.key) return p.key < q.key;
        return p.seq < q.seq;
    });
}

struct Walk {
    double whole, shared;
};

// Twice the even-odd area of the ring, and of its boundary's part inside the other ring.
// Along a ring the side of the interior changes at each crossing with itself, and being inside the other ring changes
// at each crossing with that one; so Green's theorem needs no order among the edges.
Walk walk(const Ring& r, const std::vector<Mark>& marks, bool inside, double ox, double oy) noexcept {
    double side = 1.0, whole = 0.0, shared = 0.0;
    std::size_t at = 0;
    for (std::int64_t i = 0; i < r.n; ++i) {
        double px = r.xy[2 * i] - ox, py = r.xy[2 * i + 1] - oy;
        for (; at < marks.size() && marks[at].edge == i; ++at) {
            const double qx = marks[at].x - ox, qy = marks[at].y - oy;
            const double term = side * (px * qy - py * qx);
            whole += term;
            shared += inside ? term : 0.0;
            if (marks[at].own) {
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
    const Status status = mark_own({xy, n, 0}, s, s.marks_a);
    simple = s.marks_a.empty();
    return status;
}

Status even_odd_area(const double* xy, std::int64_t n, AreaScratch& s, double& area) {
    const Ring ring{xy, n, 0};
    if (const Status status = mark_own(ring, s, s.marks_a); status != Status::kOk) return status;
    if (s.marks_a.empty()) {
        area = 0.5 * std::abs(shoelace(xy, n));
        return Status::kOk;
    }
    sort_marks(s.marks_a);
    area = 0.5 * walk(ring, s.marks_a, false, xy[0], xy[1]).whole;
    return Status::kOk;
}

Status intersection_area(const Ring& a, const Ring& b, AreaScratch& s, double& area) {
    if (const Status status = mark_own(a, s, s.marks_a); status != Status::kOk) return status;
    if (const Status status = mark_own(b, s, s.marks_b); status != Status::kOk) return status;
    s.found.clear();
    if (const Status status = find_crossings(a, b, false, s.crossings, s.found); status != Status::kOk) return status;
    for (const Crossing& c : s.found) {
        mark(a, c.edge_a, c, false, s.marks_a);
        mark(b, c.edge_b, c, false, s.marks_b);
    }
    sort_marks(s.marks_a);
    sort_marks(s.marks_b);
    // Only what lies inside b counts, so an origin at b keeps the products small even for a far larger ring a.
    const double ox = b.xy[0], oy = b.xy[1];
    const Walk wa = walk(a, s.marks_a, contains(b, a.xy, a.base), ox, oy);
    const Walk wb = walk(b, s.marks_b, contains(a, b.xy, b.base), ox, oy);
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
