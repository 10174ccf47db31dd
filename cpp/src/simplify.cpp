#include "dcap/simplify.hpp"

#include <algorithm>
#include <cmath>
#include <new>
#include <vector>

#include "dcap/area.hpp"

namespace dcap {
namespace {

// A binary heap of points, least area first, in which an area can change.
struct Heap {
    std::vector<double> area;
    std::vector<std::int64_t> items, place;
    std::int64_t size = 0;

    [[nodiscard]] bool less(std::int64_t p, std::int64_t q) const noexcept {
        return area[p] < area[q] || (area[p] == area[q] && p < q);
    }
    void put(std::int64_t at, std::int64_t item) noexcept {
        items[at] = item;
        place[item] = at;
    }
    void up(std::int64_t at) noexcept {
        const std::int64_t item = items[at];
        while (at > 0 && less(item, items[(at - 1) / 2])) {
            put(at, items[(at - 1) / 2]);
            at = (at - 1) / 2;
        }
        put(at, item);
    }
    void down(std::int64_t at) noexcept {
        const std::int64_t item = items[at];
        for (std::int64_t child = 2 * at + 1; child < size; child = 2 * at + 1) {
            if (child + 1 < size && less(items[child + 1], items[child])) ++child;
            if (!less(items[child], item)) break;
            put(at, items[child]);
            at = child;
        }
        put(at, item);
    }
};

struct Scratch {
    Heap heap;
    std::vector<std::int64_t> before, after;
    std::vector<double> kept;
    AreaScratch area;
};

double triangle(const double* xy, std::int64_t a, std::int64_t b, std::int64_t c) noexcept {
    const double ux = xy[2 * b] - xy[2 * a], uy = xy[2 * b + 1] - xy[2 * a + 1];
    const double vx = xy[2 * c] - xy[2 * a], vy = xy[2 * c + 1] - xy[2 * a + 1];
    return 0.5 * std::abs(ux * vy - uy * vx);
}

void update(const double* xy, std::int64_t i, double least, Scratch& s) noexcept {
    if (s.heap.place[i] < 0) return;
    const double area = triangle(xy, s.before[i], i, s.after[i]);
    // The effective area never falls below what has been removed already.
    s.heap.area[i] = area > least ? area : least;
    s.heap.up(s.heap.place[i]);
    s.heap.down(s.heap.place[i]);
}

// Source: M. Visvalingam, J. D. Whyatt, "Line generalisation by repeated elimination of points", 1993.
void choose(const double* xy, std::int64_t n, bool ring, std::int64_t target, std::uint8_t* keep, Scratch& s) {
    Heap& heap = s.heap;
    heap.area.assign(static_cast<std::size_t>(n), 0.0);
    heap.items.resize(static_cast<std::size_t>(n));
    heap.place.assign(static_cast<std::size_t>(n), -1);
    heap.size = 0;
    s.before.resize(static_cast<std::size_t>(n));
    s.after.resize(static_cast<std::size_t>(n));
    for (std::int64_t i = 0; i < n; ++i) {
        s.before[i] = i == 0 ? n - 1 : i - 1;
        s.after[i] = i + 1 == n ? 0 : i + 1;
        if (!ring && (i == 0 || i + 1 == n)) continue;
        heap.area[i] = triangle(xy, s.before[i], i, s.after[i]);
        heap.put(heap.size++, i);
    }
    for (std::int64_t at = heap.size / 2 - 1; at >= 0; --at) heap.down(at);
    for (std::int64_t left = n; left > target; --left) {
        const std::int64_t i = heap.items[0];
        keep[i] = 0;
        heap.place[i] = -1;
        const std::int64_t last = heap.items[--heap.size];
        if (heap.size > 0) {
            heap.put(0, last);
            heap.down(0);
        }
        const std::int64_t p = s.before[i], q = s.after[i];
        s.after[p] = q;
        s.before[q] = p;
        update(xy, p, heap.area[i], s);
        update(xy, q, heap.area[i], s);
    }
}

Status rate(const double* xy, std::int64_t n, bool ring, const std::uint8_t* keep, Scratch& s, double& score) {
    s.kept.clear();
    for (std::int64_t i = 0; i < n; ++i) {
        if (keep[i]) s.kept.insert(s.kept.end(), xy + 2 * i, xy + 2 * i + 2);
    }
    const std::int64_t m = static_cast<std::int64_t>(s.kept.size() / 2);
    double whole = 0.0, less = 0.0, both = 0.0;
    if (!ring) {
        whole = line_length(xy, n);
        score = whole > 0.0 ? std::min(line_length(s.kept.data(), m) / whole, 1.0) : 1.0;
        return Status::kOk;
    }
    if (const Status status = even_odd_area(xy, n, s.area, whole); status != Status::kOk) return status;
    if (const Status status = even_odd_area(s.kept.data(), m, s.area, less); status != Status::kOk) return status;
    const Ring a{xy, n, 0}, b{s.kept.data(), m, n};
    if (const Status status = intersection_area(a, b, s.area, both); status != Status::kOk) return status;
    const double either = whole + less - both;
    score = either > 0.0 ? std::min(both / either, 1.0) : 1.0;
    return Status::kOk;
}

}  // namespace

Status simplify(const Shapes& shapes, std::int64_t max_points, std::span<std::uint8_t> keep,
                std::span<double> score) noexcept try {
    if (const Status status = check_layout(shapes); status != Status::kOk) return status;
    if (keep.size() != shapes.xy.size() / 2 || score.size() != shapes.kinds.size()) return Status::kBadArgument;
    std::fill(keep.begin(), keep.end(), std::uint8_t{1});
    Scratch s;
    for (std::int64_t i = 0; i < shapes.size(); ++i) {
        const double* xy = shapes.points(i);
        const std::int64_t n = shapes.count(i);
        bool legal = true;
        (void)bounds_of(xy, n, legal);
        if (!legal) return Status::kNotFinite;
        const bool ring = shapes.kinds[i] == kPolygon;
        const std::int64_t target = std::max<std::int64_t>(max_points, ring ? 3 : 2);
        score[i] = 1.0;
        if (shapes.kinds[i] == kBox || n <= target) continue;
        std::uint8_t* chosen = keep.data() + shapes.offsets[i];
        choose(xy, n, ring, target, chosen, s);
        if (const Status status = rate(xy, n, ring, chosen, s, score[i]); status != Status::kOk) return status;
    }
    return Status::kOk;
} catch (const std::bad_alloc&) {
    return Status::kOutOfMemory;
}

}  // namespace dcap
