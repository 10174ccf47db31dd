// Where the edges of rings cross, decided exactly.
//
// Signs of orientation are exact, and ties (a vertex on an edge, collinear overlap, coincident points) are broken by
// simulation of simplicity: every point is moved by its own infinitesimal amount, so that two edges either cross
// properly or not at all. Parities along a ring are therefore always consistent.
#pragma once

#include <cstdint>
#include <vector>

#include "dcap/status.hpp"

namespace dcap {

// A closed ring of n points; the edge i runs from point i to point (i + 1) mod n. `base` numbers its points among all
// rings of one question, which is what breaks ties.
struct Ring {
    const double* xy;
    std::int64_t n;
    std::int64_t base;
};

struct Crossing {
    std::int64_t edge_a, edge_b;
    double x, y;
};

struct CrossingScratch {
    std::vector<double> tree_a, tree_b;  // four numbers per node, all levels one after the other
};

// Sign of the orientation of (a, b, c), never 0: +1 when they turn from the x axis towards the y axis.
[[nodiscard]] int orientation(const double* a, std::int64_t ia, const double* b, std::int64_t ib, const double* c,
                              std::int64_t ic) noexcept;

// Whether the point is inside the ring by the even-odd rule.
[[nodiscard]] bool contains(const Ring& ring, const double* point, std::int64_t index) noexcept;

// A sufficient and cheap proof that a ring does not cross itself: it is star-shaped about the middle of its bounds.
[[nodiscard]] bool is_star_shaped(const double* xy, std::int64_t n) noexcept;

// Append every crossing of an edge of a with an edge of b (of a with itself when `self`) to `out`.
// Near-linear for rings whose neighbouring edges are near each other; refuses with kTooComplex past a work bound.
[[nodiscard]] Status find_crossings(const Ring& a, const Ring& b, bool self, CrossingScratch& scratch,
                                    std::vector<Crossing>& out);

}  // namespace dcap
