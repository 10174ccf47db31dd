// Cutting rings and lines with one straight line: the step of which exact clipping consists.
#pragma once

#include <cstdint>
#include <vector>

#include "dcap/types.hpp"

namespace dcap {

// The points with nx (x - px) + ny (y - py) >= 0.
struct HalfPlane {
    double nx, ny, px, py;

    [[nodiscard]] double height(double x, double y) const noexcept { return nx * (x - px) + ny * (y - py); }
};

// Several rings or lines, one after the other; the part k ends before the point ends[k]. Buffers only ever grow, so a
// cut writes through plain pointers; `size` counts the points in use.
struct Parts {
    std::vector<double> xy;
    std::vector<std::int64_t> ends;
    std::int64_t size = 0;

    void clear() {
        ends.clear();
        size = 0;
    }
    void reserve(std::int64_t points) {
        if (xy.size() < static_cast<std::size_t>(2 * points)) xy.resize(static_cast<std::size_t>(4 * points));
    }
    void push(double x, double y) noexcept {
        xy[2 * size] = x;
        xy[2 * size + 1] = y;
        ++size;
    }
    void close() { ends.push_back(size); }
    [[nodiscard]] std::int64_t start(std::size_t k) const { return k == 0 ? 0 : ends[k - 1]; }
};

// A run of vertices above the line, with its meeting points at both ends; it may pass the end of the array.
struct Chain {
    std::int64_t first, count;
    double begin[2], end[2];
};

// An end of a chain: position along the line, then the direction the chain leaves in.
struct Port {
    double at, slope;
    std::int64_t id;  // 2 * chain for its first point, 2 * chain + 1 for its last
};

struct CutScratch {
    std::vector<double> heights;
    std::vector<std::int64_t> turns;
    std::vector<Chain> chains;
    std::vector<Port> ports;
    std::vector<std::int64_t> partner;
    std::vector<std::uint8_t> done;
};

// Append to `out` the part of one ring above the line, split into its true pieces. A vertex on the line counts as
// below it. `simple`: the ring does not cross itself, so that entries and exits alternate along the line.
// Returns whether something was cut off.
bool cut_ring(const double* xy, std::int64_t n, const HalfPlane& plane, bool simple, CutScratch& scratch, Parts& out);

// Append to `out` the pieces of one line above or on the line; returns whether something was cut off.
bool cut_line(const double* xy, std::int64_t n, const HalfPlane& plane, CutScratch& scratch, Parts& out);

// The parts of a ring that crosses itself may overlap; then only one ring keeps the even-odd rule. The seams run to
// and fro along one segment, so they enclose nothing.
void merge_parts(Parts& parts);

}  // namespace dcap
