#include "dcap/crossings.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "dcap/types.hpp"

namespace dcap {
namespace {

constexpr std::int64_t kLeaf = 4;  // edges per leaf of the box tree
constexpr std::int64_t kMaxLevels = 48;
constexpr std::int64_t kMaxCrossings = 4'000'000;
constexpr std::int64_t kBaseWork = 100'000'000;
constexpr std::int64_t kWorkPerEdge = 64;
constexpr double kLost = 2e-15;  // far above what a few roundings lose, as a share

std::int64_t next(const Ring& r, std::int64_t i) noexcept { return i + 1 == r.n ? 0 : i + 1; }

struct Tree {
    const double* boxes;
    std::array<std::int64_t, kMaxLevels> start, size;
    std::int64_t levels;
};

void join(const double* a, const double* b, double* out) noexcept {
    out[0] = std::min(a[0], b[0]);
    out[1] = std::min(a[1], b[1]);
    out[2] = std::max(a[2], b[2]);
    out[3] = std::max(a[3], b[3]);
}

// Boxes over kLeaf consecutive edges, then over pairs of boxes, up to one root.
Tree build_tree(const Ring& r, std::vector<double>& storage) {
    Tree t{};
    std::int64_t total = 0;
    for (std::int64_t size = (r.n + kLeaf - 1) / kLeaf;; size = (size + 1) / 2) {
        t.start[t.levels] = total;
        t.size[t.levels++] = size;
        total += size;
        if (size == 1) break;
    }
    storage.resize(static_cast<std::size_t>(4 * total));
    double* boxes = storage.data();
    for (std::int64_t k = 0; k < t.size[0]; ++k) {
        double* box = boxes + 4 * k;
        const std::int64_t first = k * kLeaf, last = std::min(first + kLeaf, r.n);
        box[0] = box[2] = r.xy[2 * first];
        box[1] = box[3] = r.xy[2 * first + 1];
        for (std::int64_t i = first + 1; i <= last; ++i) {
            const double* p = r.xy + 2 * (i == r.n ? 0 : i);
            const double point[4] = {p[0], p[1], p[0], p[1]};
            join(box, point, box);
        }
    }
    for (std::int64_t level = 1; level < t.levels; ++level) {
        for (std::int64_t k = 0; k < t.size[level]; ++k) {
            const double* below = boxes + 4 * t.start[level - 1];
            const std::int64_t other = std::min(2 * k + 1, t.size[level - 1] - 1);
            join(below + 8 * k, below + 4 * other, boxes + 4 * (t.start[level] + k));
        }
    }
    t.boxes = boxes;
    return t;
}

bool disjoint(const double* p, const double* q) noexcept {
    return p[2] < q[0] || q[2] < p[0] || p[3] < q[1] || q[3] < p[1];
}

double clamped(double v, double low, double high) noexcept { return v < low ? low : (v > high ? high : v); }

// One point for both edges, so that the boundary pieces on either side of it still close.
Crossing meet(const Ring& a, std::int64_t i, const Ring& b, std::int64_t j) noexcept {
    const double* p = a.xy + 2 * i;
    const double* q = a.xy + 2 * next(a, i);
    const double* r = b.xy + 2 * j;
    const double* s = b.xy + 2 * next(b, j);
    const double x1 = std::max(std::min(p[0], q[0]), std::min(r[0], s[0]));
    const double x2 = std::min(std::max(p[0], q[0]), std::max(r[0], s[0]));
    const double y1 = std::max(std::min(p[1], q[1]), std::min(r[1], s[1]));
    const double y2 = std::min(std::max(p[1], q[1]), std::max(r[1], s[1]));
    const double dx = s[0] - r[0], dy = s[1] - r[1];
    const double px = dx * (p[1] - r[1]), py = dy * (p[0] - r[0]), qx = dx * (q[1] - r[1]), qy = dy * (q[0] - r[0]);
    const double fp = px - py, fq = qx - qy, apart = std::abs(fp - fq);
    double x = 0.5 * (x1 + x2), y = 0.5 * (y1 + y2);
    if (fp != fq) {
        const double t = fp / (fp - fq);
        x = clamped(p[0] + (q[0] - p[0]) * t, x1, x2);
        y = clamped(p[1] + (q[1] - p[1]) * t, y1, y2);
    }
    // What rounding leaves of fp and fq moves the point along the edge: a little, or anywhere if the edges coincide.
    const double lost = kLost * ((std::abs(px) + std::abs(py)) + (std::abs(qx) + std::abs(qy)));
    const double length = std::abs(q[0] - p[0]) + std::abs(q[1] - p[1]);
    const double error = apart > 4.0 * lost ? length * (lost / apart) + kLost * (std::abs(x) + std::abs(y))
                                            : std::numeric_limits<double>::infinity();
    return {i, j, x, y, error};
}

bool edges_cross(const Ring& a, std::int64_t i, const Ring& b, std::int64_t j) noexcept {
    const std::int64_t i2 = next(a, i), j2 = next(b, j);
    const double *p = a.xy + 2 * i, *q = a.xy + 2 * i2, *r = b.xy + 2 * j, *s = b.xy + 2 * j2;
    if (std::max(p[0], q[0]) < std::min(r[0], s[0]) || std::max(r[0], s[0]) < std::min(p[0], q[0]) ||
        std::max(p[1], q[1]) < std::min(r[1], s[1]) || std::max(r[1], s[1]) < std::min(p[1], q[1])) {
        return false;
    }
    const std::int64_t ip = a.base + i, iq = a.base + i2, ir = b.base + j, is = b.base + j2;
    return orientation(p, ip, q, iq, r, ir) != orientation(p, ip, q, iq, s, is) &&
           orientation(r, ir, s, is, p, ip) != orientation(r, ir, s, is, q, iq);
}

using Signs = std::uint64_t __attribute__((vector_size(16)));

// 1 in each lane whose sign differs.
Signs sign_changes(Lanes p, Lanes q) noexcept {
    Signs a, b;
    std::memcpy(&a, &p, sizeof a);
    std::memcpy(&b, &q, sizeof b);
    return (a ^ b) >> 63;
}

struct Pair {
    std::int64_t level_a, a, level_b, b;
};

}  // namespace

bool contains(const Ring& ring, const double* point, std::int64_t index) noexcept {
    bool inside = false;
    for (std::int64_t i = 0; i < ring.n; ++i) {
        const std::int64_t j = next(ring, i);
        const double *p = ring.xy + 2 * i, *q = ring.xy + 2 * j;
        // Equal heights: the point with the smaller number is moved further up.
        const bool p_above = p[1] > point[1] || (p[1] == point[1] && ring.base + i < index);
        const bool q_above = q[1] > point[1] || (q[1] == point[1] && ring.base + j < index);
        if (p_above == q_above) continue;
        const int side = orientation(p, ring.base + i, q, ring.base + j, point, index);
        inside ^= q_above ? side > 0 : side < 0;
    }
    return inside;
}

bool is_star_shaped(const double* xy, std::int64_t n) noexcept {
    bool legal = true;
    const Bounds b = bounds_of(xy, n, legal);
    const Lanes center{0.5 * (b.x1 + b.x2), 0.5 * (b.y1 + b.y2)};
    // Far above what the differences and products below can lose by rounding.
    const double margin = 1e-14 * (b.x2 - b.x1) * (b.y2 - b.y1);
    // The turns of two edges at a time, p to q and q to r; the last edge of an odd ring stands in both lanes.
    Lanes p = load(xy + 2 * n - 2) - center, low{}, high{};
    Signs changes{0, 0};
    for (std::int64_t i = 0; i < n; i += 2) {
        const Lanes q = load(xy + 2 * i) - center, r = i + 1 < n ? load(xy + 2 * i + 2) - center : q;
        const Lanes a = p * Lanes{q[1], q[0]}, c = (i + 1 < n ? q : p) * Lanes{r[1], r[0]};
        const Lanes turn = Lanes{a[0], c[0]} - Lanes{a[1], c[1]};
        low = i == 0 ? turn : smaller(turn, low);
        high = i == 0 ? turn : larger(turn, high);
        changes += sign_changes(p, q) + sign_changes(q, r);
        p = r;
    }
    // All turns alike, and once around: the ray from the centre is crossed up once and down once.
    const bool left = low[0] > margin && low[1] > margin, right = high[0] < -margin && high[1] < -margin;
    return (left || right) && changes[1] == 2;
}

Status find_crossings(const Ring& a, const Ring& b, bool self, CrossingScratch& scratch, std::vector<Crossing>& out) {
    const Tree ta = build_tree(a, scratch.tree_a);
    const Tree tb = self ? ta : build_tree(b, scratch.tree_b);
    std::int64_t work = kBaseWork + kWorkPerEdge * (a.n + b.n);
    const std::int64_t limit = static_cast<std::int64_t>(out.size()) + kMaxCrossings;
    std::array<Pair, 8 * kMaxLevels> stack;
    std::int64_t top = 0;
    stack[top++] = {ta.levels - 1, 0, tb.levels - 1, 0};
    while (top > 0) {
        const Pair p = stack[--top];
        if (--work < 0) return Status::kTooComplex;
        const bool same = self && p.a == p.b && p.level_a == p.level_b;
        if (!same && disjoint(ta.boxes + 4 * (ta.start[p.level_a] + p.a), tb.boxes + 4 * (tb.start[p.level_b] + p.b))) {
            continue;
        }
        if (p.level_a == 0 && p.level_b == 0) {
            const std::int64_t last_i = std::min((p.a + 1) * kLeaf, a.n), last_j = std::min((p.b + 1) * kLeaf, b.n);
            for (std::int64_t i = p.a * kLeaf; i < last_i; ++i) {
                for (std::int64_t j = same ? i + 2 : p.b * kLeaf; j < last_j; ++j) {
                    // Neighbouring edges share a vertex and never cross properly.
                    if (self && (next(a, i) == j || next(a, j) == i)) continue;
                    if (edges_cross(a, i, b, j)) out.push_back(meet(a, i, b, j));
                }
            }
            work -= kLeaf * kLeaf;
            if (static_cast<std::int64_t>(out.size()) > limit) return Status::kTooComplex;
            continue;
        }
        const bool open_a = p.level_a >= p.level_b, open_b = p.level_b >= p.level_a;
        const std::int64_t la = p.level_a - open_a, lb = p.level_b - open_b;
        const std::int64_t first_a = open_a ? 2 * p.a : p.a,
                           last_a = open_a ? std::min(2 * p.a + 2, ta.size[la]) : p.a + 1;
        const std::int64_t first_b = open_b ? 2 * p.b : p.b,
                           last_b = open_b ? std::min(2 * p.b + 2, tb.size[lb]) : p.b + 1;
        for (std::int64_t i = first_a; i < last_a; ++i) {
            for (std::int64_t j = same ? i : first_b; j < last_b; ++j) stack[top++] = {la, i, lb, j};
        }
    }
    return Status::kOk;
}

}  // namespace dcap
