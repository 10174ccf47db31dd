#include "dcap/marks.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace dcap {
namespace {

bool at_one_point(const Mark& a, const Mark& b) noexcept { return a.x == b.x && a.y == b.y; }

// Where a mark may be at least and at most; anywhere on an edge without length, where that is not a number.
double lowest(const Mark& mark) noexcept {
    const double low = mark.key - mark.reach;
    return low == low ? low : -std::numeric_limits<double>::infinity();
}

double highest(const Mark& mark) noexcept {
    const double high = mark.key + mark.reach;
    return high == high ? high : std::numeric_limits<double>::infinity();
}

// For each mark, the lowest place of all from it to the last one of its edge.
std::vector<double> lowest_from(const std::vector<Mark>& marks) {
    std::vector<double> lows(marks.size());
    for (std::size_t k = marks.size(); k-- > 0;) {
        lows[k] = lowest(marks[k]);
        if (k + 1 < marks.size() && marks[k + 1].edge == marks[k].edge && lows[k + 1] < lows[k]) lows[k] = lows[k + 1];
    }
    return lows;
}

// Merge sort by exact order, bottom up. A plain one: whatever the answers are, it stays within its arrays.
template <class Before>
void merge_sort(Mark* first, std::int64_t n, Before before) {
    std::vector<Mark> other(first, first + n);
    Mark *from = first, *to = other.data();
    for (std::int64_t width = 1; width < n; width *= 2) {
        for (std::int64_t start = 0; start < n; start += 2 * width) {
            const std::int64_t middle = std::min(start + width, n), end = std::min(start + 2 * width, n);
            std::int64_t i = start, j = middle;
            for (std::int64_t at = start; at < end; ++at) {
                const bool left = i < middle && (j >= end || !before(from[j], from[i]));
                to[at] = from[left ? i++ : j++];
            }
        }
        std::swap(from, to);
    }
    if (from != first) std::copy(from, from + n, first);
}

}  // namespace

void add_mark(std::span<const Ring> rings, std::int64_t ring, std::int64_t edge, std::int64_t other, std::int64_t with,
              const Crossing& c, std::vector<Mark>& marks) {
    const Edge e = rings[ring].edge(edge);
    const double dx = e.q[0] - e.p[0], dy = e.q[1] - e.p[1];
    const double key = (c.x - e.p[0]) * dx + (c.y - e.p[1]) * dy;
    const double reach = (std::abs(dx) + std::abs(dy)) * c.error;
    marks.push_back({edge, static_cast<std::int64_t>(marks.size()), key, reach, c.x, c.y, other, with});
}

void sort_marks(std::span<const Ring> rings, std::int64_t ring, bool exact, std::vector<Mark>& marks) {
    std::sort(marks.begin(), marks.end(), [](const Mark& p, const Mark& q) {
        if (p.edge != q.edge) return p.edge < q.edge;
        if (p.key != q.key) return p.key < q.key;
        return p.seq < q.seq;
    });
    // Positions alone leave open how the marks between two gaps follow each other.
    const std::vector<double> lows = lowest_from(marks);
    for (std::size_t first = 0, last = 0; first < marks.size(); first = last) {
        double high = highest(marks[first]);
        bool doubtful = false;
        for (last = first + 1; last < marks.size() && marks[last].edge == marks[first].edge; ++last) {
            if (lows[last] > high) break;
            doubtful = doubtful || exact || !at_one_point(marks[last - 1], marks[last]);
            high = std::max(high, highest(marks[last]));
        }
        if (!doubtful) continue;
        const Edge e = rings[ring].edge(marks[first].edge);
        merge_sort(marks.data() + first, static_cast<std::int64_t>(last - first), [&](const Mark& p, const Mark& q) {
            if (p.key + p.reach < q.key - q.reach) return true;
            if (q.key + q.reach < p.key - p.reach) return false;
            return crosses_before(e, rings[p.other].edge(p.with), rings[q.other].edge(q.with));
        });
    }
}

}  // namespace dcap
