#include "dcap/pack.hpp"

#include <algorithm>
#include <bit>
#include <limits>
#include <memory>
#include <new>
#include <numeric>

namespace dcap {
namespace {

constexpr std::int64_t kNone = -1;

// A row with room, as a node of a pairing heap: its first child, and the next child of its parent.
struct Row {
    std::int64_t room, child, next;
};

// Memory that is not touched before it is written: much of it never is.
template <class T>
using Buffer = std::unique_ptr<T[]>;

template <class T>
Buffer<T> buffer(std::size_t n) {
    return std::make_unique_for_overwrite<T[]>(n);
}

struct Scratch {
    Buffer<std::int64_t> order;   // samples, longest first
    Buffer<std::int64_t> table;   // see sort_longest_first
    Buffer<std::int64_t> coming;  // where a length begins in the order: heap of rows that hold it, but none before it
    Buffer<std::int64_t> open;    // heaps of rows that hold the current length, the one with least room last
    Buffer<Row> rows;

    explicit Scratch(std::size_t n)
        : order(buffer<std::int64_t>(n)),
          table(buffer<std::int64_t>((std::size_t{1} << std::bit_width(n)) + 2)),
          coming(buffer<std::int64_t>(n)),
          open(buffer<std::int64_t>(n + 1)),
          rows(buffer<Row>(n + 1)) {}
};

// The lengths of a window. Their gaps, by how much they are shorter than the longest one, ascend in the order.
struct Window {
    std::span<const std::int64_t> lengths;
    std::int64_t shortest, longest;
    int shift;  // what makes gaps so small that a table over them is no longer than samples are many

    explicit Window(std::span<const std::int64_t> l) noexcept : lengths(l), shortest(l[0]), longest(l[0]) {
        for (const std::int64_t length : lengths) {
            shortest = std::min(shortest, length);
            longest = std::max(longest, length);
        }
        const auto range = static_cast<std::uint64_t>(longest - shortest);
        shift = std::max(0, static_cast<int>(std::bit_width(range)) - static_cast<int>(std::bit_width(l.size())));
    }
    [[nodiscard]] std::int64_t entry(std::int64_t length) const noexcept { return (longest - length) >> shift; }
};

// Fill order, equal lengths in their own order, and table: entry v is the first place of a gap with upper bits v.
void sort_longest_first(const Window& w, Scratch& s) noexcept {
    const std::int64_t last = w.entry(w.shortest), n = static_cast<std::int64_t>(w.lengths.size());
    std::int64_t* const table = s.table.get();
    std::int64_t* const order = s.order.get();
    std::fill_n(table, last + 3, std::int64_t{0});
    // Counted two entries up and summed, entry v + 1 is the start of v; it moves to the end as samples are put there.
    for (const std::int64_t length : w.lengths) ++table[w.entry(length) + 2];
    std::partial_sum(table, table + last + 3, table);
    for (std::int64_t i = 0; i < n; ++i) order[table[w.entry(w.lengths[i]) + 1]++] = i;
    if (w.shift == 0) return;
    const auto before = [&w](std::int64_t i, std::int64_t j) {
        return w.lengths[i] > w.lengths[j] || (w.lengths[i] == w.lengths[j] && i < j);
    };
    for (std::int64_t v = 0; v <= last; ++v) std::sort(order + table[v], order + table[v + 1], before);
}

// The first place of the longest length that a row with this room holds.
std::int64_t held_by(std::int64_t room, const Window& w, const Scratch& s) noexcept {
    const std::int64_t v = w.entry(room), *order = s.order.get();
    if (w.shift == 0) return s.table[v];
    const auto longer = [&w](std::int64_t sample, std::int64_t most) { return w.lengths[sample] > most; };
    return std::lower_bound(order + s.table[v], order + s.table[v + 1], room, longer) - order;
}

// Join two heaps; the root has the least room, and is the oldest of those. `a` may be none when `b` is a single row.
std::int64_t join(std::int64_t a, std::int64_t b, Row* rows) noexcept {
    const bool swap = (rows[b].room < rows[a].room) | ((rows[b].room == rows[a].room) & (b < a));
    const std::int64_t root = swap ? b : a, leaf = swap ? a : b;
    rows[leaf].next = rows[root].child;
    rows[root].child = leaf;
    return root;
}

// What is left of a heap without its root: children are joined in pairs, then the pairs from the last one on.
// Source: M. L. Fredman et al., "The pairing heap: a new form of self-adjusting heap", 1986.
std::int64_t without_root(std::int64_t root, Row* rows) noexcept {
    std::int64_t a = rows[root].child;
    if (rows[a].next == kNone) return a;
    std::int64_t pairs = kNone;
    while (a != kNone) {
        const std::int64_t b = rows[a].next, after = rows[b].next;
        const std::int64_t pair = b == kNone ? a : join(a, b, rows);
        rows[pair].next = pairs;
        pairs = pair;
        a = after;
    }
    std::int64_t heap = pairs;
    pairs = rows[heap].next;
    while (pairs != kNone) {
        const std::int64_t pair = pairs;
        pairs = rows[pair].next;
        heap = join(heap, pair, rows);
    }
    return heap;
}

// Lengths only get shorter, so a row that holds one goes on holding what comes. Rows that begin to hold the current
// length have less room than all that held the one before: open rows are a stack, and no search is needed.
std::int64_t pack_window(const Window& w, std::int64_t capacity, std::int64_t first_row, std::int64_t* row_of,
                         Scratch& s) noexcept {
    const std::int64_t n = static_cast<std::int64_t>(w.lengths.size());
    sort_longest_first(w, s);
    std::fill_n(s.coming.get(), n, kNone);
    // A row that no one prefers and that has no neighbours stands for none, which spares tests.
    Row* const rows = s.rows.get() + 1;
    rows[kNone] = {std::numeric_limits<std::int64_t>::max(), kNone, kNone};
    std::int64_t num_rows = 0, num_open = 0;
    const auto push = [&](std::int64_t row) {
        s.open[num_open] = row;
        num_open += row != kNone;
    };
    for (std::int64_t i = 0; i < n;) {
        const std::int64_t length = w.lengths[s.order[i]];
        push(s.coming[i]);
        for (bool same = true; same;) {
            std::int64_t at = num_rows, room = capacity;
            if (num_open > 0) {
                at = s.open[--num_open];
                room = rows[at].room;
                push(without_root(at, rows));
            } else {
                ++num_rows;
            }
            // What is left of its room is still the least.
            do {
                row_of[s.order[i++]] = first_row + at;
                room -= length;
                same = i < n && w.lengths[s.order[i]] == length;
            } while (same && room >= length);
            rows[at] = {room, kNone, kNone};
            if (room >= length) {
                push(at);
            } else if (room >= w.shortest) {
                std::int64_t& heap = s.coming[held_by(room, w, s)];
                heap = join(heap, at, rows);
            }
        }
    }
    return num_rows;
}

}  // namespace

Status pack(std::span<const std::int64_t> lengths, std::int64_t capacity, std::int64_t window,
            std::span<std::int64_t> row_of, std::int64_t& num_rows) noexcept try {
    if (row_of.size() != lengths.size() || window < 1) return Status::kBadArgument;
    const auto legal = [capacity](std::int64_t length) { return length >= 1 && length <= capacity; };
    if (!std::all_of(lengths.begin(), lengths.end(), legal)) return Status::kBadArgument;
    const std::size_t step = static_cast<std::size_t>(std::min(window, static_cast<std::int64_t>(lengths.size())));
    Scratch s(step);
    num_rows = 0;
    for (std::size_t start = 0; start < lengths.size(); start += step) {
        const std::size_t n = std::min(step, lengths.size() - start);
        num_rows += pack_window(Window(lengths.subspan(start, n)), capacity, num_rows, row_of.data() + start, s);
    }
    return Status::kOk;
} catch (const std::bad_alloc&) {
    return Status::kOutOfMemory;
}

}  // namespace dcap
