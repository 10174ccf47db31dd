// The crossings of a ring, in their order along it.
#pragma once

#include <span>
#include <vector>

#include "dcap/crossings.hpp"

namespace dcap {

// A crossing seen from one ring.
struct Mark {
    std::int64_t edge, seq;    // edge of this ring; order of discovery
    double key, reach;         // position along the edge, times its length, and how far off it may be
    double x, y;               // the point
    std::int64_t other, with;  // the other ring, or this one where it crosses itself; the edge of that one
};

// Append a crossing of the edge of rings[ring] with that edge of rings[other].
void add_mark(std::span<const Ring> rings, std::int64_t ring, std::int64_t edge, std::int64_t other, std::int64_t with,
              const Crossing& crossing, std::vector<Mark>& marks);

// Sort the marks of rings[ring] as they follow each other along it, exactly, so that the order along one edge agrees
// with that along every other one: where edges nearly coincide, the points themselves are in no useful order. Between
// marks in one and the same point the order is any, unless `exact`.
void sort_marks(std::span<const Ring> rings, std::int64_t ring, bool exact, std::vector<Mark>& marks);

}  // namespace dcap
