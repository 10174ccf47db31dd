#include "dcap/outline.hpp"

#include <algorithm>
#include <cmath>

#include "dcap/area.hpp"

namespace dcap {
namespace {

constexpr std::int64_t kVotes = 16;             // places of a hole that are looked for in an outline
constexpr std::int64_t kSeamWork = 10'000'000;  // distances that are compared for one seam

bool equal(const double* p, const double* q) noexcept { return p[0] == q[0] && p[1] == q[1]; }

// Whether the way from a to c turns back at b, without enclosing anything.
bool is_spike(const double* a, const double* b, const double* c, double width) noexcept {
    const double ux = b[0] - a[0], uy = b[1] - a[1], vx = c[0] - b[0], vy = c[1] - b[1];
    if (!(ux * vx + uy * vy < 0.0)) return false;
    const double longest = std::max(std::abs(ux) + std::abs(uy), std::abs(vx) + std::abs(vy));
    return std::abs(ux * vy - uy * vx) <= width * longest;
}

// One ring among those that are joined.
struct Piece {
    const double* xy;
    std::int64_t n;
    double twice;  // signed area
    std::int64_t outline = -1;
};

Ring ring_of(const std::vector<double>& xy) noexcept {
    return {xy.data(), static_cast<std::int64_t>(xy.size() / 2), 0};
}

// How many of the middles of the hole's edges are inside; all of them, but for edges along the outline.
bool holds(const Piece& outline, const Piece& hole) noexcept {
    const Ring ring{outline.xy, outline.n, 0};
    const std::int64_t step = std::max<std::int64_t>(1, hole.n / kVotes);
    std::int64_t inside = 0, asked = 0;
    for (std::int64_t i = 0; i < hole.n; i += step) {
        const double *p = hole.xy + 2 * i, *q = hole.xy + 2 * (i + 1 == hole.n ? 0 : i + 1);
        const double middle[2] = {0.5 * (p[0] + q[0]), 0.5 * (p[1] + q[1])};
        inside += contains(ring, middle, outline.n);
        ++asked;
    }
    return 2 * inside > asked;
}

// The smallest outline around the hole; the largest of all where rounding hides it.
std::int64_t outline_around(const std::vector<Piece>& pieces, const Piece& hole) noexcept {
    std::int64_t best = -1, largest = -1;
    for (std::int64_t k = 0; k < static_cast<std::int64_t>(pieces.size()); ++k) {
        if (pieces[k].twice < 0.0) continue;
        if (largest < 0 || pieces[k].twice > pieces[largest].twice) largest = k;
        if ((best < 0 || pieces[k].twice < pieces[best].twice) && holds(pieces[k], hole)) best = k;
    }
    return best < 0 ? largest : best;
}

struct Seam {
    double square;  // of its length
    std::int64_t edge, corner;
    double x, y;  // where it meets the edge
};

// The shortest way from a corner of the hole to an edge of the ring.
Seam find_seam(const Ring& ring, const Piece& hole) noexcept {
    const std::int64_t step = 1 + ring.n * hole.n / kSeamWork;
    Seam best{-1.0, 0, 0, 0.0, 0.0};
    for (std::int64_t corner = 0; corner < hole.n; corner += step) {
        const double* h = hole.xy + 2 * corner;
        for (std::int64_t edge = 0; edge < ring.n; ++edge) {
            const Edge e = ring.edge(edge);
            const double ux = e.q[0] - e.p[0], uy = e.q[1] - e.p[1];
            const double along = (h[0] - e.p[0]) * ux + (h[1] - e.p[1]) * uy, whole = ux * ux + uy * uy;
            double x = e.p[0], y = e.p[1];
            if (along >= whole) {
                x = e.q[0];
                y = e.q[1];
            } else if (along > 0.0) {
                x = e.p[0] + ux * (along / whole);
                y = e.p[1] + uy * (along / whole);
            }
            const double square = (h[0] - x) * (h[0] - x) + (h[1] - y) * (h[1] - y);
            if (best.square < 0.0 || square < best.square) best = {square, edge, corner, x, y};
        }
    }
    return best;
}

void insert_hole(std::vector<double>& ring, const Piece& hole) {
    const Seam seam = find_seam(ring_of(ring), hole);
    std::vector<double> way{seam.x, seam.y};
    way.insert(way.end(), hole.xy + 2 * seam.corner, hole.xy + 2 * hole.n);
    way.insert(way.end(), hole.xy, hole.xy + 2 * seam.corner + 2);
    way.push_back(seam.x);
    way.push_back(seam.y);
    ring.insert(ring.begin() + 2 * (seam.edge + 1), way.begin(), way.end());
}

}  // namespace

void drop_spikes(std::vector<double>& ring, double width) {
    double* const xy = ring.data();
    std::int64_t size = 0;
    for (std::size_t i = 0; i + 1 < ring.size(); i += 2) {
        const double point[2] = {xy[i], xy[i + 1]};
        while (size >= 2 && is_spike(xy + 2 * size - 4, xy + 2 * size - 2, point, width)) --size;
        if (size >= 1 && equal(xy + 2 * size - 2, point)) continue;
        std::copy(point, point + 2, xy + 2 * size++);
    }
    std::int64_t first = 0;
    while (size - first >= 3) {
        const double *begin = xy + 2 * first, *end = xy + 2 * size;
        if (equal(end - 2, begin) || is_spike(end - 4, end - 2, begin, width)) {
            --size;
        } else if (is_spike(end - 2, begin, begin + 2, width)) {
            ++first;
        } else {
            break;
        }
    }
    ring.resize(static_cast<std::size_t>(2 * size));
    ring.erase(ring.begin(), ring.begin() + 2 * first);
}

double join_holes(const Parts& rings, double least, double width, Parts& outlines, std::vector<double>& areas) {
    std::vector<std::vector<double>> clean;
    for (std::size_t k = 0; k < rings.ends.size(); ++k) {
        clean.emplace_back(rings.xy.data() + 2 * rings.start(k), rings.xy.data() + 2 * rings.ends[k]);
        drop_spikes(clean.back(), width);
    }
    std::vector<Piece> pieces;
    for (const std::vector<double>& xy : clean) {
        const Ring ring = ring_of(xy);
        if (ring.n < 3) continue;
        const double twice = shoelace(ring.xy, ring.n);
        if (0.5 * std::abs(twice) > least) pieces.push_back({ring.xy, ring.n, twice});
    }
    for (Piece& hole : pieces) {
        if (hole.twice < 0.0) hole.outline = outline_around(pieces, hole);
    }
    outlines.clear();
    areas.clear();
    double all = 0.0;
    for (std::size_t k = 0; k < pieces.size(); ++k) {
        if (pieces[k].twice < 0.0) continue;
        std::vector<double> ring(pieces[k].xy, pieces[k].xy + 2 * pieces[k].n);
        double twice = pieces[k].twice;
        for (const Piece& hole : pieces) {
            if (hole.outline != static_cast<std::int64_t>(k)) continue;
            insert_hole(ring, hole);
            twice += hole.twice;
        }
        if (ring.size() > static_cast<std::size_t>(2 * pieces[k].n)) drop_spikes(ring, width);
        if (!(0.5 * twice > least) || ring.size() < 6) continue;
        outlines.reserve(outlines.size + static_cast<std::int64_t>(ring.size() / 2));
        std::copy(ring.begin(), ring.end(), outlines.xy.data() + 2 * outlines.size);
        outlines.size += static_cast<std::int64_t>(ring.size() / 2);
        outlines.close();
        areas.push_back(0.5 * twice);
        all += 0.5 * twice;
    }
    return all;
}

}  // namespace dcap
