// Where the edges of rings cross, decided exactly.
//
// Ties are broken as in predicates.hpp, so two edges either cross properly or not at all, and parities along a ring are
// always consistent.
#pragma once

#include <cstdint>
#include <vector>

#include "dcap/predicates.hpp"
#include "dcap/status.hpp"

namespace dcap {

// A closed ring of n points; the edge i runs from point i to point (i + 1) mod n. `base` numbers its points among all
// rings of one question, which is what breaks ties.
struct Ring {
    const double* xy;
    std::int64_t n;
    std::int64_t base;

    [[nodiscard]] Edge edge(std::int64_t i) const noexcept {
        const std::int64_t j = i + 1 == n ? 0 : i + 1;
        return {xy + 2 * i, xy + 2 * j, base + i, base + j};
    }
};

// Two edges and the point that stands for where they cross, at most `error` from there; infinity where edges coincide
// so nearly that rounding hides where.
struct Crossing {
    std::int64_t edge_a, edge_b;
    double x, y, error;
};

struct CrossingScratch {
    std::vector<double> tree_a, tree_b;  // four numbers per node, all levels one after the other
};

// Whether the point is inside the ring by the even-odd rule.
[[nodiscard]] bool contains(const Ring& ring, const double* point, std::int64_t index) noexcept;

// A sufficient and cheap proof that a ring does not cross itself: it is star-shaped about the middle of its bounds.
[[nodiscard]] bool is_star_shaped(const double* xy, std::int64_t n) noexcept;

// Append every crossing of an edge of a with an edge of b (of a with itself when `self`) to `out`.
// Near-linear for rings whose neighbouring edges are near each other; refuses with kTooComplex past a work bound.
[[nodiscard]] Status find_crossings(const Ring& a, const Ring& b, bool self, CrossingScratch& scratch,
                                    std::vector<Crossing>& out);

}  // namespace dcap
