#include "dcap/hull.hpp"

#include <algorithm>
#include <cmath>
#include <new>
#include <vector>

namespace dcap {
namespace {

struct Scratch {
    std::vector<std::int64_t> order;
    std::vector<double> hull;
};

double turn(const double* a, const double* b, const double* c) noexcept {
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]);
}

// Append p to the chain that starts at `base`, dropping what is then no corner.
std::int64_t extend(std::vector<double>& hull, std::int64_t base, std::int64_t size, const double* p) noexcept {
    while (size >= base + 2 && !(turn(&hull[2 * size - 4], &hull[2 * size - 2], p) > 0.0)) --size;
    hull[2 * size] = p[0];
    hull[2 * size + 1] = p[1];
    return size + 1;
}

// Corners of the convex hull, turning from the x axis towards the y axis.
// Source: A. M. Andrew, "Another efficient algorithm for convex hulls in two dimensions", 1979.
std::int64_t convex_hull(const double* xy, std::int64_t n, Scratch& s) {
    s.order.resize(static_cast<std::size_t>(n));
    for (std::int64_t i = 0; i < n; ++i) s.order[i] = i;
    std::sort(s.order.begin(), s.order.end(), [xy](std::int64_t i, std::int64_t j) {
        if (xy[2 * i] != xy[2 * j]) return xy[2 * i] < xy[2 * j];
        if (xy[2 * i + 1] != xy[2 * j + 1]) return xy[2 * i + 1] < xy[2 * j + 1];
        return i < j;
    });
    s.hull.resize(static_cast<std::size_t>(4 * n + 4));
    std::int64_t size = 0;
    for (std::int64_t k = 0; k < n; ++k) size = extend(s.hull, 0, size, xy + 2 * s.order[k]);
    const std::int64_t base = size - 1;
    for (std::int64_t k = n - 2; k >= 0; --k) size = extend(s.hull, base, size, xy + 2 * s.order[k]);
    while (size > 1 && s.hull[2 * size - 2] == s.hull[0] && s.hull[2 * size - 1] == s.hull[1]) --size;
    return size;
}

std::int64_t advance(const double* hull, std::int64_t n, std::int64_t at, double dx, double dy) noexcept {
    for (std::int64_t step = 0; step < n; ++step) {
        const std::int64_t next = at + 1 == n ? 0 : at + 1;
        if (dx * hull[2 * next] + dy * hull[2 * next + 1] < dx * hull[2 * at] + dy * hull[2 * at + 1]) break;
        at = next;
    }
    return at;
}

// One side of the least rectangle lies on a hull edge.
// Source: H. Freeman, R. Shapira, "Determining the minimum-area encasing rectangle", 1975; G. Toussaint, "Solving
// geometric problems with the rotating calipers", 1983.
void least_rectangle(const double* hull, std::int64_t n, double* out) noexcept {
    double best = -1.0;
    std::int64_t right = 0, far = 0, left = 0;
    for (std::int64_t i = 0; i < n; ++i) {
        const double* p = hull + 2 * i;
        const double* q = hull + 2 * (i + 1 == n ? 0 : i + 1);
        double ux = q[0] - p[0], uy = q[1] - p[1];
        const double length = std::sqrt(ux * ux + uy * uy);
        if (!(length > 0.0)) continue;
        ux = ux / length;
        uy = uy / length;
        right = advance(hull, n, best < 0.0 ? i : right, ux, uy);
        far = advance(hull, n, best < 0.0 ? right : far, -uy, ux);
        left = advance(hull, n, best < 0.0 ? far : left, -ux, -uy);
        const double u1 = ux * hull[2 * left] + uy * hull[2 * left + 1];
        const double u2 = ux * hull[2 * right] + uy * hull[2 * right + 1];
        const double v1 = ux * p[1] - uy * p[0];
        const double v2 = ux * hull[2 * far + 1] - uy * hull[2 * far];
        const double area = (u2 - u1) * (v2 - v1);
        if (best >= 0.0 && !(area < best)) continue;
        best = area;
        const double u[4] = {u1, u2, u2, u1}, v[4] = {v1, v1, v2, v2};
        for (int k = 0; k < 4; ++k) {
            out[2 * k] = u[k] * ux - v[k] * uy;
            out[2 * k + 1] = u[k] * uy + v[k] * ux;
        }
    }
}

void start_at_top_left(double* c) noexcept {
    int first = 0;
    for (int k = 1; k < 4; ++k) {
        const bool higher = c[2 * k + 1] < c[2 * first + 1];
        const bool level = c[2 * k + 1] == c[2 * first + 1];
        if (higher || (level && c[2 * k] < c[2 * first])) first = k;
    }
    std::rotate(c, c + 2 * first, c + 8);
}

}  // namespace

Status min_area_rect(const Shapes& shapes, std::span<double> out) noexcept try {
    if (const Status status = check_layout(shapes); status != Status::kOk) return status;
    if (out.size() != 8 * shapes.kinds.size()) return Status::kBadArgument;
    Scratch s;
    for (std::int64_t i = 0; i < shapes.size(); ++i) {
        const double* xy = shapes.points(i);
        std::int64_t n = shapes.count(i);
        bool legal = true;
        const Bounds b = bounds_of(xy, n, legal);
        if (!legal) return Status::kNotFinite;
        const double corners[8] = {b.x1, b.y1, b.x2, b.y1, b.x2, b.y2, b.x1, b.y2};
        if (shapes.kinds[i] == kBox) {
            xy = corners;
            n = 4;
        }
        const std::int64_t size = convex_hull(xy, n, s);
        double* c = out.data() + 8 * i;
        if (size >= 3) {
            least_rectangle(s.hull.data(), size, c);
        } else {
            // No area: the segment (or point) there and back.
            const double *p = s.hull.data(), *q = size == 2 ? p + 2 : p;
            const double flat[8] = {p[0], p[1], q[0], q[1], q[0], q[1], p[0], p[1]};
            std::copy(flat, flat + 8, c);
        }
        start_at_top_left(c);
    }
    return Status::kOk;
} catch (const std::bad_alloc&) {
    return Status::kOutOfMemory;
}

}  // namespace dcap
