#include "dcap/clip.hpp"

#include <algorithm>
#include <cmath>
#include <new>

#include "dcap/area.hpp"
#include "dcap/halfplane.hpp"
#include "dcap/region.hpp"

namespace dcap {
namespace {

struct Scratch {
    std::vector<double> mapped;
    std::vector<const HalfPlane*> active;
    Parts current, other;
    std::vector<double> sizes;
    CutScratch cut;
    AreaScratch area;

    // The other buffers are no larger than these.
    [[nodiscard]] bool is_large() const noexcept {
        constexpr std::size_t kKeptNumbers = std::size_t{1} << 20;
        return mapped.size() + current.xy.size() + other.xy.size() + area.found.capacity() > kKeptNumbers;
    }
};

// Where to put n mapped points: where they would be emitted, which saves the copy of what is inside, if they fit.
double* place_to_map(std::int64_t n, Scratch& s, const ClipOutput& out) {
    const auto needed = static_cast<std::size_t>(2 * std::max<std::int64_t>(n, 4));
    const auto used = static_cast<std::size_t>(2 * out.num_points);
    if (used + needed <= out.xy.size()) return out.xy.data() + used;
    if (s.mapped.size() < needed) s.mapped.resize(2 * needed);
    return s.mapped.data();
}

// Cut the shape in `mapped` with every active half-plane; true when something was cut off.
template <class Cut>
bool cut_all(const double* xy, std::int64_t n, Scratch& s, Cut cut) {
    bool changed = false;
    const double* points = xy;
    s.current.ends.assign(1, n);
    for (const HalfPlane* plane : s.active) {
        s.other.clear();
        for (std::size_t k = 0; k < s.current.ends.size(); ++k) {
            const std::int64_t start = s.current.start(k);
            changed |= cut(points + 2 * start, s.current.ends[k] - start, *plane, s.other);
        }
        std::swap(s.current, s.other);
        points = s.current.xy.data();
    }
    return changed;
}

// Emit all parts larger than `least`, or the largest one (the first of equals).
void emit_parts(std::uint8_t kind, std::int64_t source, double visible, double whole, double least, bool keep_largest,
                Scratch& s, ClipOutput& out) {
    const std::size_t count = s.current.ends.size();
    if (!(visible > least) || !(visible_share(visible, whole) > 0.0)) return;
    const std::size_t best =
        static_cast<std::size_t>(std::max_element(s.sizes.begin(), s.sizes.end()) - s.sizes.begin());
    for (std::size_t k = 0; k < count; ++k) {
        if (!(s.sizes[k] > least) || (keep_largest && k != best)) continue;
        const std::int64_t start = s.current.start(k);
        out.add_cut(s.current.xy.data() + 2 * start, s.current.ends[k] - start, kind, source,
                    visible_share(visible, whole));
    }
}

Status measure_parts(bool simple, Scratch& s, double& total) {
    total = 0.0;
    s.sizes.resize(s.current.ends.size());
    for (std::size_t k = 0; k < s.sizes.size(); ++k) {
        const std::int64_t start = s.current.start(k), n = s.current.ends[k] - start;
        const double* xy = s.current.xy.data() + 2 * start;
        if (simple) {
            s.sizes[k] = 0.5 * std::abs(shoelace(xy, n));
        } else if (const Status status = even_odd_area(xy, n, s.area, s.sizes[k]); status != Status::kOk) {
            return status;
        }
        total += s.sizes[k];
    }
    return Status::kOk;
}

Status clip_ring(const double* xy, std::int64_t n, const Region& region, std::int64_t source, double least,
                 bool keep_largest, Scratch& s, ClipOutput& out) {
    bool simple = false;
    if (const Status status = find_simple(xy, n, s.area, simple); status != Status::kOk) return status;
    const bool changed = cut_all(xy, n, s, [&](const double* p, std::int64_t m, const HalfPlane& plane, Parts& to) {
        return cut_ring(p, m, plane, simple, s.cut, to);
    });
    if (!changed) {
        out.add(xy, n, kPolygon, source, 1.0);
        return Status::kOk;
    }
    if (s.current.ends.empty()) return Status::kOk;
    double visible = 0.0, whole = 0.0;
    if (const Status status = measure_parts(simple, s, visible); status != Status::kOk) return status;
    if (simple) {
        whole = 0.5 * std::abs(shoelace(xy, n));
    } else {
        const double sum = visible;
        if (const Status status = even_odd_area(xy, n, s.area, whole); status != Status::kOk) return status;
        const Ring ring{xy, n, region.ring().n};
        if (const Status status = intersection_area(ring, region.ring(), s.area, visible); status != Status::kOk) {
            return status;
        }
        if (s.current.ends.size() > 1 && sum > visible * (1.0 + 1e-9)) {
            merge_parts(s.current);
            s.sizes.assign(1, visible);
        }
    }
    emit_parts(kPolygon, source, visible, whole, least, keep_largest, s, out);
    return Status::kOk;
}

void clip_line(const double* xy, std::int64_t n, std::int64_t source, double least, bool keep_largest, Scratch& s,
               ClipOutput& out) {
    const bool changed = cut_all(xy, n, s, [&](const double* p, std::int64_t m, const HalfPlane& plane, Parts& to) {
        return cut_line(p, m, plane, s.cut, to);
    });
    if (!changed) return out.add(xy, n, kLine, source, 1.0);
    double visible = 0.0;
    s.sizes.resize(s.current.ends.size());
    for (std::size_t k = 0; k < s.sizes.size(); ++k) {
        const std::int64_t start = s.current.start(k);
        s.sizes[k] = line_length(s.current.xy.data() + 2 * start, s.current.ends[k] - start);
        visible += s.sizes[k];
    }
    emit_parts(kLine, source, visible, line_length(xy, n), least, keep_largest, s, out);
}

// A cut box is a box again when only axis-aligned half-planes cut it, and under kBounds; otherwise a polygon.
void clip_box(const Bounds& b, std::int64_t source, double least, BoxPolicy policy, Scratch& s, ClipOutput& out) {
    const double whole = (b.x2 - b.x1) * (b.y2 - b.y1);
    if (!(whole > 0.0)) return;
    Bounds v = b;
    bool tilted = false;
    for (const HalfPlane* p : s.active) {
        tilted |= p->nx != 0.0 && p->ny != 0.0;
        if (p->ny == 0.0 && p->nx > 0.0) v.x1 = std::max(v.x1, p->px);
        if (p->ny == 0.0 && p->nx < 0.0) v.x2 = std::min(v.x2, p->px);
        if (p->nx == 0.0 && p->ny > 0.0) v.y1 = std::max(v.y1, p->py);
        if (p->nx == 0.0 && p->ny < 0.0) v.y2 = std::min(v.y2, p->py);
    }
    if (!(v.x1 < v.x2 && v.y1 < v.y2)) return;
    if (!tilted) {
        const double visible = (v.x2 - v.x1) * (v.y2 - v.y1), box[4] = {v.x1, v.y1, v.x2, v.y2};
        if (visible_share(visible, whole) > 0.0) out.add_cut(box, 2, kBox, source, visible_share(visible, whole));
        return;
    }
    const double ring[8] = {b.x1, b.y1, b.x2, b.y1, b.x2, b.y2, b.x1, b.y2};
    const bool changed = cut_all(ring, 4, s, [&](const double* p, std::int64_t m, const HalfPlane& plane, Parts& to) {
        return cut_ring(p, m, plane, true, s.cut, to);
    });
    if (!changed) {
        const double box[4] = {b.x1, b.y1, b.x2, b.y2};
        return out.add(box, 2, kBox, source, 1.0);
    }
    if (s.current.ends.empty()) return;
    const std::int64_t n = s.current.ends[0];
    const double visible = 0.5 * std::abs(shoelace(s.current.xy.data(), n));
    if (!(visible > least) || !(visible_share(visible, whole) > 0.0)) return;
    if (policy == BoxPolicy::kPolygon) {
        return out.add_cut(s.current.xy.data(), n, kPolygon, source, visible_share(visible, whole));
    }
    bool legal = true;
    const Bounds r = bounds_of(s.current.xy.data(), n, legal);
    const double box[4] = {r.x1, r.y1, r.x2, r.y2};
    out.add_cut(box, 2, kBox, source, visible_share(visible, whole));
}

Status clip_each(const Shapes& shapes, const ClipOptions& options, const Region& region, Scratch& s, ClipOutput& out) {
    if (const Status status = check_layout(shapes); status != Status::kOk) return status;
    if (out.offsets.size() != out.kinds.size() + 1 || out.source.size() != out.kinds.size() ||
        out.fraction.size() != out.kinds.size()) {
        return Status::kBadArgument;
    }
    const bool moves = !is_identity(options.matrix);
    out.offsets[0] = 0;
    for (std::int64_t i = 0; i < shapes.size(); ++i) {
        const double* xy = shapes.points(i);
        std::int64_t n = shapes.count(i);
        std::uint8_t kind = shapes.kinds[i];
        bool legal = true;
        Bounds bounds{};
        if (moves) {
            double* mapped = place_to_map(n, s, out);
            if (kind == kBox) {
                n = map_box(options.matrix, xy, options.box_policy, mapped);
                kind = n == 4 ? static_cast<std::uint8_t>(kPolygon) : kind;
                bounds = bounds_of(mapped, n, legal);
            } else {
                bounds = map_bounded(options.matrix, xy, n, mapped, legal);
            }
            xy = mapped;
        } else {
            bounds = bounds_of(xy, n, legal);
        }
        if (!legal) return Status::kNotFinite;
        const Place place = locate(bounds, kind == kLine, region, s.active);
        if (place == Place::kInside) {
            out.add(xy, n, kind, i, 1.0);
        } else if (place == Place::kCut && kind == kBox) {
            clip_box(bounds, i, noise_of(bounds, region).area, options.box_policy, s, out);
        } else if (place == Place::kCut && kind == kLine) {
            clip_line(xy, n, i, noise_of(bounds, region).length, options.keep_largest, s, out);
        } else if (place == Place::kCut) {
            const Status status =
                clip_ring(xy, n, region, i, noise_of(bounds, region).area, options.keep_largest, s, out);
            if (status != Status::kOk) return status;
        }
    }
    return Status::kOk;
}

Status clip_shapes(const Shapes& shapes, const ClipOptions& options, const Region& region, ClipOutput& out) {
    thread_local Scratch scratch;  // kept from call to call: its allocations cost as much as a small image
    const Status status = clip_each(shapes, options, region, scratch, out);
    if (scratch.is_large()) scratch = Scratch{};
    return status;
}

}  // namespace

Status clip_rect(const Shapes& shapes, const ClipOptions& options, const std::array<double, 4>& rect,
                 ClipOutput& out) noexcept try {
    Region region;
    if (const Status status = rect_region(rect, region); status != Status::kOk) return status;
    return clip_shapes(shapes, options, region, out);
} catch (const std::bad_alloc&) {
    return Status::kOutOfMemory;
}

Status clip_convex(const Shapes& shapes, const ClipOptions& options, std::span<const double> corners,
                   ClipOutput& out) noexcept try {
    Region region;
    if (const Status status = convex_region(corners, region); status != Status::kOk) return status;
    return clip_shapes(shapes, options, region, out);
} catch (const std::bad_alloc&) {
    return Status::kOutOfMemory;
}

}  // namespace dcap
