#include "dcap/marks.hpp"

#include <algorithm>
#include <cmath>

namespace dcap {
namespace {

bool at_one_point(const Mark& a, const Mark& b) noexcept { return a.x == b.x && a.y == b.y; }

// Whether positions alone leave open how the marks of one edge follow each other.
bool is_doubtful(const Mark* first, const Mark* last, bool exact) noexcept {
    double reach = first->key + first->reach;
    for (const Mark* mark = first + 1; mark < last; ++mark) {
        if (mark->key - mark->reach <= reach && (exact || !at_one_point(mark[-1], *mark))) return true;
        reach = std::max(reach, mark->key + mark->reach);
    }
    return false;
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
    Mark* const end = marks.data() + marks.size();
    for (Mark *first = marks.data(), *last = first; first < end; first = last) {
        while (last < end && last->edge == first->edge) ++last;
        if (!is_doubtful(first, last, exact)) continue;
        const Edge e = rings[ring].edge(first->edge);
        merge_sort(first, last - first, [&](const Mark& p, const Mark& q) {
            if (p.key + p.reach < q.key - q.reach) return true;
            if (q.key + q.reach < p.key - p.reach) return false;
            return crosses_before(e, rings[p.other].edge(p.with), rings[q.other].edge(q.with));
        });
    }
}

}  // namespace dcap
