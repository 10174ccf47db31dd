// Which way three points turn, and which of two crossings comes first along an edge; both exact, and never undecided.
//
// Ties (a vertex on an edge, collinear overlap, coincident points) are broken by simulation of simplicity: every point
// is moved by its own infinitesimal amount, the same for both questions. So all answers about one set of points are
// those of one drawing in which no three points are collinear and no three edges meet in one point.
#pragma once

#include <cstdint>

namespace dcap {

// From p to q, with the numbers that break ties.
struct Edge {
    const double *p, *q;
    std::int64_t ip, iq;
};

// Sign of the orientation of (a, b, c), never 0: +1 when they turn from the x axis towards the y axis.
[[nodiscard]] int orientation(const double* a, std::int64_t ia, const double* b, std::int64_t ib, const double* c,
                              std::int64_t ic) noexcept;

// Whether e, on its way from p to q, crosses f before it crosses g. It must cross both, and share a point with neither;
// f and g may share one.
[[nodiscard]] bool crosses_before(const Edge& e, const Edge& f, const Edge& g) noexcept;

}  // namespace dcap
