#include "dcap/difference.hpp"

#include <algorithm>
#include <cmath>
#include <new>
#include <utility>
#include <vector>

#include "dcap/area.hpp"
#include "dcap/halfplane.hpp"
#include "dcap/marks.hpp"
#include "dcap/outline.hpp"

namespace dcap {
namespace {

constexpr double kRounding = 1e-15;

// A box or polygon that covers.
struct Cover {
    Bounds bounds{};
    double corners[8] = {};
    const double* xy = nullptr;
    std::int64_t n = 0;  // 0 for lines
};

void put_corners(const Bounds& b, double* corners) noexcept {
    const double xy[8] = {b.x1, b.y1, b.x2, b.y1, b.x2, b.y2, b.x1, b.y2};
    std::copy(xy, xy + 8, corners);
}

Status prepare(const Shapes& shapes, std::vector<Cover>& covers) {
    covers.resize(static_cast<std::size_t>(shapes.size()));
    for (std::int64_t i = 0; i < shapes.size(); ++i) {
        Cover& cover = covers[i];
        bool legal = true;
        cover.bounds = bounds_of(shapes.points(i), shapes.count(i), legal);
        if (!legal) return Status::kNotFinite;
        if (shapes.kinds[i] == kLine) continue;
        cover.xy = shapes.points(i);
        cover.n = shapes.count(i);
        if (shapes.kinds[i] != kBox) continue;
        put_corners(cover.bounds, cover.corners);
        cover.xy = cover.corners;
        cover.n = 4;
    }
    return Status::kOk;
}

// Whether they share more than a border; of what is flat, whether they share anything.
bool meets(const Bounds& a, const Bounds& b, bool flat) noexcept {
    const double w = std::min(a.x2, b.x2) - std::max(a.x1, b.x1), h = std::min(a.y2, b.y2) - std::max(a.y1, b.y1);
    return flat ? w >= 0.0 && h >= 0.0 : w > 0.0 && h > 0.0;
}

// One shape and what may cover it. Between two marks a ring runs on one side of all others: that is a run. Run k of a
// ring goes from its mark k to the next one; a ring that crosses nothing is one run.
struct Scene {
    std::vector<Ring> rings;  // the shape, then its covers
    std::vector<Bounds> bounds;
    std::vector<std::vector<Mark>> marks;
    std::vector<std::int64_t> place;    // of each of the two marks of a crossing among those of its ring
    std::vector<std::int64_t> first;    // run of each ring, among all runs
    std::vector<std::int8_t> bounding;  // of each run: 1 or -1 when what is left lies to its left or right, else 0
    std::vector<std::uint8_t> inside;
    CrossingScratch crossings;
    std::vector<Crossing> found;
    AreaScratch area;
    Parts rings_left, parts;
    std::vector<double> sizes;

    void start(const double* xy, std::int64_t n, const Bounds& b) {
        rings.assign(1, {xy, n, 0});
        bounds.assign(1, b);
    }
    void add(const Cover& cover) {
        rings.push_back({cover.xy, cover.n, rings.back().base + rings.back().n});
        bounds.push_back(cover.bounds);
    }
    [[nodiscard]] std::int64_t size() const noexcept { return static_cast<std::int64_t>(rings.size()); }
    [[nodiscard]] std::int64_t num_marks(std::int64_t ring) const noexcept {
        return static_cast<std::int64_t>(marks[ring].size());
    }
};

Status find_marks(Scene& s, std::int64_t a, std::int64_t b, bool open) {
    const Ring &ring = s.rings[a], &other = s.rings[b];
    if (a == b && (ring.n < 4 || is_star_shaped(ring.xy, ring.n))) return Status::kOk;
    if (a != b && !meets(s.bounds[a], s.bounds[b], true)) return Status::kOk;
    s.found.clear();
    if (const Status status = find_crossings(ring, other, a == b, s.crossings, s.found); status != Status::kOk) {
        return status;
    }
    for (const Crossing& c : s.found) {
        // A line does not run from its last point to its first.
        if (open && c.edge_a + 1 == ring.n) continue;
        const auto number = static_cast<std::int64_t>(s.place.size());
        add_mark(s.rings, a, c.edge_a, b, c.edge_b, c, s.marks[a]);
        s.marks[a].back().seq = number;
        add_mark(s.rings, b, c.edge_b, a, c.edge_a, c, s.marks[b]);
        s.marks[b].back().seq = number + 1;
        s.place.resize(s.place.size() + 2);
    }
    return Status::kOk;
}

// Find all crossings, of a line those with its covers, and sort them along every ring.
Status mark_all(Scene& s, bool open) {
    s.marks.resize(std::max(s.marks.size(), s.rings.size()));
    for (std::int64_t k = 0; k < s.size(); ++k) s.marks[k].clear();
    s.place.clear();
    for (std::int64_t a = 0; a < (open ? 1 : s.size()); ++a) {
        for (std::int64_t b = open ? 1 : a; b < s.size(); ++b) {
            if (const Status status = find_marks(s, a, b, open); status != Status::kOk) return status;
        }
    }
    for (std::int64_t k = 0; k < s.size(); ++k) {
        sort_marks(s.rings, k, true, s.marks[k]);
        for (std::int64_t i = 0; i < s.num_marks(k); ++i) s.place[s.marks[k][i].seq] = i;
    }
    return Status::kOk;
}

// Where the inside of a ring is at its first point: 1 to the left, -1 to the right. At its top-most vertex, moved as in
// predicates.hpp, it is where the ring turns to; from there the side changes at every crossing with itself.
int first_side(const Ring& ring, std::int64_t self, const std::vector<Mark>& marks) noexcept {
    std::int64_t top = 0;
    for (std::int64_t i = 1; i < ring.n; ++i) {
        if (ring.xy[2 * i + 1] > ring.xy[2 * top + 1]) top = i;
    }
    const Edge in = ring.edge(top == 0 ? ring.n - 1 : top - 1), out = ring.edge(top);
    int side = orientation(in.p, in.ip, in.q, in.iq, out.q, out.iq);
    for (const Mark& mark : marks) {
        if (mark.edge < top && mark.other == self) side = -side;
    }
    return side;
}

// Find which runs bound what is left: those of the shape that nothing covers, and those of a cover inside the shape
// that no other one covers.
void find_bounding(Scene& s) {
    s.first.assign(1, 0);
    for (std::int64_t k = 0; k < s.size(); ++k) {
        s.first.push_back(s.first.back() + std::max<std::int64_t>(1, s.num_marks(k)));
    }
    s.bounding.assign(static_cast<std::size_t>(s.first.back()), 0);
    for (std::int64_t k = 0; k < s.size(); ++k) {
        const Ring& ring = s.rings[k];
        int side = first_side(ring, k, s.marks[k]);
        std::int64_t covers = 0;
        s.inside.assign(s.rings.size(), 0);
        for (std::int64_t other = 0; other < s.size(); ++other) {
            if (other == k) continue;
            s.inside[other] = contains(s.rings[other], ring.xy, ring.base);
            if (other > 0) covers += s.inside[other];
        }
        const auto bounds_rest = [&]() -> std::int8_t {
            if (covers > 0 || (k > 0 && !s.inside[0])) return 0;
            return static_cast<std::int8_t>(k == 0 ? side : -side);
        };
        std::int8_t* bounding = s.bounding.data() + s.first[k];
        if (s.marks[k].empty()) *bounding = bounds_rest();
        for (const Mark& mark : s.marks[k]) {
            if (mark.other == k) {
                side = -side;
            } else {
                s.inside[mark.other] ^= 1;
                if (mark.other > 0) covers += s.inside[mark.other] ? 1 : -1;
            }
            *bounding++ = bounds_rest();
        }
    }
}

struct Run {
    std::int64_t ring, number;  // among the runs of its ring
};

const Mark& end_of(const Scene& s, Run run, bool forward) noexcept {
    const std::vector<Mark>& marks = s.marks[run.ring];
    if (!forward) return marks[run.number];
    return marks[run.number + 1 == s.num_marks(run.ring) ? 0 : run.number + 1];
}

// Append the points of a run, without the one at its end.
void append_run(const Scene& s, Run run, bool forward, Parts& out) {
    const Ring& ring = s.rings[run.ring];
    std::int64_t at = forward ? 0 : ring.n - 1, count = ring.n;
    out.reserve(out.size + ring.n + 1);
    if (!s.marks[run.ring].empty()) {
        const Mark &begin = end_of(s, run, !forward), &end = end_of(s, run, forward);
        out.push(begin.x, begin.y);
        count = forward ? end.edge - begin.edge : begin.edge - end.edge;
        if (run.number + 1 == s.num_marks(run.ring)) count += ring.n;
        at = forward ? begin.edge + 1 : begin.edge;
    }
    for (; count > 0; --count, at += forward ? 1 : -1) {
        if (at == ring.n) at = 0;
        if (at < 0) at = ring.n - 1;
        out.push(ring.xy[2 * at], ring.xy[2 * at + 1]);
    }
}

// The run that goes on where one ends, on the other ring of that crossing; where two do, at a crossing of a ring with
// itself, the one to the left, which bounds the same corner of what is left. Its number is -1 when there is none, which
// only lost bits of huge or tiny numbers can cause.
Run next_run(const Scene& s, Run run, bool forward) noexcept {
    const Mark& end = end_of(s, run, forward);
    const std::int64_t ring = end.other, place = s.place[end.seq ^ 1], count = s.num_marks(ring);
    const Run in{ring, place == 0 ? count - 1 : place - 1}, out{ring, place};
    const std::int8_t* bounding = s.bounding.data() + s.first[ring];
    const bool in_leaves = bounding[in.number] < 0, out_leaves = bounding[out.number] > 0;
    if (in_leaves && out_leaves) {
        const Edge e = s.rings[run.ring].edge(end.edge), f = s.rings[ring].edge(end.with);
        return (orientation(e.p, e.ip, e.q, e.iq, f.q, f.iq) > 0) == forward ? out : in;
    }
    if (out_leaves) return out;
    return {ring, in_leaves ? in.number : -1};
}

// Follow bounding runs from crossing to crossing: each cycle is one ring, with what is left to its left.
void trace(Scene& s, Parts& out) {
    out.clear();
    for (std::int64_t k = 0; k < s.size(); ++k) {
        for (std::int64_t i = 0; i < s.first[k + 1] - s.first[k]; ++i) {
            Run run{k, i};
            const std::int64_t start = out.size;
            while (run.number >= 0) {
                std::int8_t& bounding = s.bounding[s.first[run.ring] + run.number];
                if (bounding == 0) break;
                const bool forward = bounding > 0;
                append_run(s, run, forward, out);
                if (s.marks[run.ring].empty()) {
                    bounding = 0;
                    break;
                }
                const Run next = next_run(s, run, forward);
                bounding = 0;
                run = next;
            }
            if (out.size > start) out.close();
        }
    }
}

struct Subject {
    const double* xy;
    std::int64_t n, source;
    std::uint8_t kind;
    Bounds bounds;
};

// Emit what remains of a shape that is partly covered.
void emit_parts(const Subject& subject, double share, double least, const DifferenceOptions& options, const Scene& s,
                ClipOutput& out) {
    const auto best = std::max_element(s.sizes.begin(), s.sizes.end()) - s.sizes.begin();
    bool legal = true;
    if (subject.kind == kBox && options.box_policy == BoxPolicy::kBounds) {
        const Bounds b = bounds_of(s.parts.xy.data(), s.parts.size, legal);
        const double box[4] = {b.x1, b.y1, b.x2, b.y2};
        return out.add_cut(box, 2, kBox, subject.source, share);
    }
    for (std::int64_t k = 0; k < static_cast<std::int64_t>(s.sizes.size()); ++k) {
        if (options.keep_largest && k != best) continue;
        const double* xy = s.parts.xy.data() + 2 * s.parts.start(k);
        const std::int64_t n = s.parts.ends[k] - s.parts.start(k);
        const Bounds b = bounds_of(xy, n, legal);
        if (subject.kind == kBox && (b.x2 - b.x1) * (b.y2 - b.y1) - s.sizes[k] <= least) {
            const double box[4] = {b.x1, b.y1, b.x2, b.y2};
            out.add_cut(box, 2, kBox, subject.source, share);
        } else {
            out.add_cut(xy, n, kPolygon, subject.source, share);
        }
    }
}

Status cut_ring(const Subject& subject, const DifferenceOptions& options, Scene& s, ClipOutput& out) {
    const Bounds& b = subject.bounds;
    const double far = std::max(std::max(std::abs(b.x1), std::abs(b.x2)), std::max(std::abs(b.y1), std::abs(b.y2)));
    const double width = 4.0 * kRounding * far, least = width * ((b.x2 - b.x1) + (b.y2 - b.y1));
    double whole = (b.x2 - b.x1) * (b.y2 - b.y1);
    if (subject.kind == kPolygon) {
        const Ring& ring = s.rings[0];
        if (const Status status = even_odd_area(ring.xy, ring.n, s.area, whole); status != Status::kOk) return status;
    }
    if (const Status status = mark_all(s, false); status != Status::kOk) return status;
    find_bounding(s);
    if (!(whole > 0.0)) {
        // Nothing can be taken from what has no area: it is there if its first point is.
        bool covered = false;
        for (std::int64_t k = 1; k < s.size(); ++k) covered |= contains(s.rings[k], s.rings[0].xy, 0);
        if (!covered) out.add(subject.xy, subject.n, subject.kind, subject.source, 1.0);
        return Status::kOk;
    }
    trace(s, s.rings_left);
    const double visible = join_holes(s.rings_left, least, width, s.parts, s.sizes);
    if (whole - visible <= least) {
        out.add(subject.xy, subject.n, subject.kind, subject.source, 1.0);
    } else if (visible > least && visible_share(visible, whole) > 0.0) {
        emit_parts(subject, visible_share(visible, whole), least, options, s, out);
    }
    return Status::kOk;
}

// Collect the parts of the line that nothing covers.
void split_line(Scene& s) {
    const Ring& line = s.rings[0];
    s.parts.clear();
    s.parts.reserve(line.n + 2 * s.num_marks(0));
    std::int64_t covers = 0, start = 0;
    s.inside.assign(s.rings.size(), 0);
    for (std::int64_t k = 1; k < s.size(); ++k) {
        s.inside[k] = contains(s.rings[k], line.xy, line.base);
        covers += s.inside[k];
    }
    const auto push = [&](double x, double y) {
        const double point[2] = {x, y}, *last = s.parts.xy.data() + 2 * s.parts.size - 2;
        if (s.parts.size > start && last[0] == point[0] && last[1] == point[1]) return;
        s.parts.push(x, y);
    };
    const auto close = [&] {
        if (s.parts.size >= start + 2) s.parts.close();
        if (s.parts.size == start + 1) s.parts.size = start;
        start = s.parts.size;
    };
    auto mark = s.marks[0].begin();
    for (std::int64_t i = 0; i < line.n; ++i) {
        if (covers == 0) push(line.xy[2 * i], line.xy[2 * i + 1]);
        for (; mark != s.marks[0].end() && mark->edge == i; ++mark) {
            const bool shown = covers == 0;
            s.inside[mark->other] ^= 1;
            covers += s.inside[mark->other] ? 1 : -1;
            if (shown != (covers == 0)) push(mark->x, mark->y);
            if (shown && covers > 0) close();
        }
    }
    close();
}

Status cut_line(const Subject& subject, bool keep_largest, Scene& s, ClipOutput& out) {
    if (const Status status = mark_all(s, true); status != Status::kOk) return status;
    split_line(s);
    const double whole = line_length(subject.xy, subject.n);
    double visible = 0.0;
    s.sizes.resize(s.parts.ends.size());
    for (std::size_t k = 0; k < s.sizes.size(); ++k) {
        s.sizes[k] = line_length(s.parts.xy.data() + 2 * s.parts.start(k), s.parts.ends[k] - s.parts.start(k));
        visible += s.sizes[k];
    }
    const Bounds& b = subject.bounds;
    const double far = std::max(std::max(std::abs(b.x1), std::abs(b.x2)), std::max(std::abs(b.y1), std::abs(b.y2)));
    const double least = 4.0 * kRounding * far;
    bool covered = false;
    for (std::int64_t k = 1; k < s.size(); ++k) covered |= contains(s.rings[k], subject.xy, 0);
    if (whole > 0.0 ? whole - visible <= least : !covered) {
        out.add(subject.xy, subject.n, kLine, subject.source, 1.0);
        return Status::kOk;
    }
    if (!(visible > least) || !(visible_share(visible, whole) > 0.0)) return Status::kOk;
    const auto best = std::max_element(s.sizes.begin(), s.sizes.end()) - s.sizes.begin();
    for (std::int64_t k = 0; k < static_cast<std::int64_t>(s.sizes.size()); ++k) {
        if (!(s.sizes[k] > least) || (keep_largest && k != best)) continue;
        out.add_cut(s.parts.xy.data() + 2 * s.parts.start(k), s.parts.ends[k] - s.parts.start(k), kLine, subject.source,
                    visible_share(visible, whole));
    }
    return Status::kOk;
}

}  // namespace

Status difference(const Shapes& shapes, const Shapes& covers, const DifferenceOptions& options,
                  ClipOutput& out) noexcept try {
    if (const Status status = check_layout(shapes); status != Status::kOk) return status;
    if (const Status status = check_layout(covers); status != Status::kOk) return status;
    if (out.offsets.size() != out.kinds.size() + 1 || out.source.size() != out.kinds.size() ||
        out.fraction.size() != out.kinds.size()) {
        return Status::kBadArgument;
    }
    std::vector<Cover> prepared;
    if (const Status status = prepare(covers, prepared); status != Status::kOk) return status;
    Scene scene;
    out.offsets[0] = 0;
    for (std::int64_t i = 0; i < shapes.size(); ++i) {
        Subject subject{shapes.points(i), shapes.count(i), i, shapes.kinds[i], {}};
        bool legal = true;
        subject.bounds = bounds_of(subject.xy, subject.n, legal);
        if (!legal) return Status::kNotFinite;
        const bool line = subject.kind == kLine;
        const bool flat = line || subject.bounds.x1 == subject.bounds.x2 || subject.bounds.y1 == subject.bounds.y2;
        double corners[8];
        put_corners(subject.bounds, corners);
        if (subject.kind == kBox) {
            scene.start(corners, 4, subject.bounds);
        } else {
            scene.start(subject.xy, subject.n, subject.bounds);
        }
        for (const Cover& cover : prepared) {
            if (cover.n > 0 && meets(subject.bounds, cover.bounds, flat)) scene.add(cover);
        }
        if (scene.size() == 1) {
            out.add(subject.xy, subject.n, subject.kind, i, 1.0);
            continue;
        }
        const Status status =
            line ? cut_line(subject, options.keep_largest, scene, out) : cut_ring(subject, options, scene, out);
        if (status != Status::kOk) return status;
    }
    return Status::kOk;
} catch (const std::bad_alloc&) {
    return Status::kOutOfMemory;
}

}  // namespace dcap
