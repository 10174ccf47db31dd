#include "dcap/halfplane.hpp"

#include <algorithm>

namespace dcap {
namespace {

struct Heights {
    bool any_above, any_below;
};

Heights measure(const double* xy, std::int64_t n, const HalfPlane& plane, std::vector<double>& heights) {
    if (heights.size() < static_cast<std::size_t>(n)) heights.resize(static_cast<std::size_t>(2 * n));
    double* h = heights.data();
    // The sides of a rectangle need only one coordinate; the products left out are zeros.
    if (plane.ny == 0.0) {
        for (std::int64_t i = 0; i < n; ++i) h[i] = plane.nx * (xy[2 * i] - plane.px);
    } else if (plane.nx == 0.0) {
        for (std::int64_t i = 0; i < n; ++i) h[i] = plane.ny * (xy[2 * i + 1] - plane.py);
    } else {
        for (std::int64_t i = 0; i < n; ++i) h[i] = plane.height(xy[2 * i], xy[2 * i + 1]);
    }
    double low = h[0], high = h[0];
    for (std::int64_t i = 1; i < n; ++i) {
        low = h[i] < low ? h[i] : low;
        high = h[i] > high ? h[i] : high;
    }
    return {high > 0.0, low < 0.0};
}

// Always from the same end of an edge, met from either side: the point is the same to the bit. From the end nearer to
// the line, the points of two edges keep their order down to the rounding of that end, not of the far one.
void push_meeting(Parts& out, const double* in, double h_in, const double* off, double h_off,
                  const HalfPlane& plane) noexcept {
    const bool from_in = h_in < -h_off;
    const double *from = from_in ? in : off, *to = from_in ? off : in;
    const double t = (from_in ? h_in : h_off) / (from_in ? h_in - h_off : h_off - h_in);
    const double x = plane.ny == 0.0 ? plane.px : from[0] + (to[0] - from[0]) * t;
    out.push(x, plane.nx == 0.0 ? plane.py : from[1] + (to[1] - from[1]) * t);
}

void append_all(const double* xy, std::int64_t n, Parts& out) {
    std::copy(xy, xy + 2 * n, out.xy.data() + 2 * out.size);
    out.size += n;
    out.close();
}

// Append a chain to the ring under construction, leaving out points that repeat the one before.
void append_chain(const Parts& chains, std::int64_t chain, bool forward, std::int64_t ring_start, Parts& out) {
    const std::int64_t first = chains.start(static_cast<std::size_t>(chain)), last = chains.ends[chain] - 1;
    const double* from = chains.xy.data() + 2 * (forward ? first : last);
    const std::int64_t step = forward ? 2 : -2;
    double* to = out.xy.data() + 2 * out.size;
    const double* const begin = out.xy.data() + 2 * ring_start;
    for (std::int64_t k = first; k <= last; ++k, from += step) {
        if (to != begin && to[-2] == from[0] && to[-1] == from[1]) continue;
        to[0] = from[0];
        to[1] = from[1];
        to += 2;
    }
    out.size = (to - out.xy.data()) / 2;
}

void close_ring(std::int64_t ring_start, Parts& out) {
    const double* first = out.xy.data() + 2 * ring_start;
    while (out.size > ring_start + 1 && out.xy[2 * out.size - 2] == first[0] && out.xy[2 * out.size - 1] == first[1]) {
        --out.size;
    }
    if (out.size < ring_start + 3) {
        out.size = ring_start;
    } else {
        out.close();
    }
}

void add_port(const double* xy, std::int64_t in, std::int64_t off, const HalfPlane& plane, std::int64_t id,
              CutScratch& s) {
    const double* h = s.heights.data();
    push_meeting(s.chains, xy + 2 * in, h[in], xy + 2 * off, h[off], plane);
    const double* meeting = s.chains.xy.data() + 2 * s.chains.size - 2;
    const double tx = -plane.ny, ty = plane.nx;
    const double at = tx * meeting[0] + ty * meeting[1];
    s.ports.push_back({at, (tx * xy[2 * in] + ty * xy[2 * in + 1] - at) / h[in], id});
}

void push_run(Parts& out, const double* from, std::int64_t count) {
    std::copy(from, from + 2 * count, out.xy.data() + 2 * out.size);
    out.size += count;
}

// Collect the runs of vertices above the line, each with its meeting points at both ends.
void collect_chains(const double* xy, std::int64_t n, const HalfPlane& plane, CutScratch& s) {
    const double* h = s.heights.data();
    s.chains.clear();
    s.chains.reserve(2 * n + 2);
    s.ports.clear();
    std::int64_t start = 0;
    while (h[start] > 0.0) ++start;
    // Once around from a vertex that is not above; a run may pass the end of the array.
    std::int64_t i = start + 1;
    const std::int64_t stop = start + n;
    const auto wrap = [n](std::int64_t k) { return k < n ? k : k - n; };
    while (true) {
        while (i < stop && !(h[wrap(i)] > 0.0)) ++i;
        if (i >= stop) return;
        const std::int64_t first = i, chain = static_cast<std::int64_t>(s.chains.ends.size());
        add_port(xy, wrap(first), wrap(first - 1), plane, 2 * chain, s);
        while (i < stop && h[wrap(i)] > 0.0) ++i;
        const std::int64_t begin = wrap(first), count = i - first, before_end = std::min(count, n - begin);
        push_run(s.chains, xy + 2 * begin, before_end);
        push_run(s.chains, xy, count - before_end);
        add_port(xy, wrap(i - 1), wrap(i), plane, 2 * chain + 1, s);
        s.chains.close();
    }
}

// Along the line, entries and exits of a simple ring alternate; rounding can only have swapped neighbours.
void restore_alternation(std::vector<Port>& ports) {
    constexpr std::size_t kReach = 16;
    for (std::size_t i = 1; i < ports.size(); ++i) {
        const std::int64_t wanted = (ports[i - 1].id & 1) ^ 1;
        std::size_t j = i;
        while (j < ports.size() && j < i + kReach && (ports[j].id & 1) != wanted) ++j;
        if (j > i && j < ports.size() && (ports[j].id & 1) == wanted) std::swap(ports[i], ports[j]);
    }
}

// A chain that ends where it began is a ring of its own, or a spike that rounding has made flat.
void close_loops(CutScratch& s) {
    std::size_t kept = 0;
    for (std::size_t c = 0; c < s.chains.ends.size(); ++c) {
        const double *first = s.chains.xy.data() + 2 * s.chains.start(c),
                     *end = s.chains.xy.data() + 2 * s.chains.ends[c];
        if (first[0] == end[-2] && first[1] == end[-1]) {
            s.partner[2 * c] = static_cast<std::int64_t>(2 * c + 1);
            s.partner[2 * c + 1] = static_cast<std::int64_t>(2 * c);
        } else {
            s.ports[kept++] = s.ports[2 * c];
            s.ports[kept++] = s.ports[2 * c + 1];
        }
    }
    s.ports.resize(kept);
}

// Pair the ports along the line and follow chains from partner to partner: each cycle is one ring.
void link_chains(bool simple, CutScratch& s, Parts& out) {
    const std::size_t chains = s.chains.ends.size();
    s.partner.resize(2 * chains);
    close_loops(s);
    std::sort(s.ports.begin(), s.ports.end(), [](const Port& p, const Port& q) {
        if (p.at != q.at) return p.at < q.at;
        if (p.slope != q.slope) return p.slope < q.slope;
        return p.id < q.id;
    });
    if (simple) restore_alternation(s.ports);
    for (std::size_t i = 0; i < s.ports.size(); i += 2) {
        s.partner[s.ports[i].id] = s.ports[i + 1].id;
        s.partner[s.ports[i + 1].id] = s.ports[i].id;
    }
    s.done.assign(chains, 0);
    for (std::size_t c = 0; c < chains; ++c) {
        if (s.done[c]) continue;
        const std::int64_t ring_start = out.size;
        std::int64_t port = static_cast<std::int64_t>(2 * c);
        do {
            const std::int64_t chain = port / 2;
            const bool forward = (port & 1) == 0;
            s.done[chain] = 1;
            append_chain(s.chains, chain, forward, ring_start, out);
            port = s.partner[forward ? port + 1 : port - 1];
        } while (port != static_cast<std::int64_t>(2 * c));
        close_ring(ring_start, out);
    }
}

}  // namespace

bool cut_ring(const double* xy, std::int64_t n, const HalfPlane& plane, bool simple, CutScratch& s, Parts& out) {
    out.reserve(out.size + 2 * n);
    const Heights found = measure(xy, n, plane, s.heights);
    if (!found.any_below) {
        append_all(xy, n, out);
        return false;
    }
    if (!found.any_above) return true;
    collect_chains(xy, n, plane, s);
    if (s.chains.ends.size() > 1) {
        link_chains(simple, s, out);
        return true;
    }
    const std::int64_t ring_start = out.size;
    append_chain(s.chains, 0, true, ring_start, out);
    close_ring(ring_start, out);
    return true;
}

bool cut_line(const double* xy, std::int64_t n, const HalfPlane& plane, CutScratch& s, Parts& out) {
    out.reserve(out.size + 2 * n);
    const Heights found = measure(xy, n, plane, s.heights);
    if (!found.any_below) {
        append_all(xy, n, out);
        return false;
    }
    const double* h = s.heights.data();
    std::int64_t start = out.size;
    for (std::int64_t i = 0; i < n; ++i) {
        const double* p = xy + 2 * i;
        const bool above = h[i] >= 0.0;
        if (i > 0 && above != (h[i - 1] >= 0.0)) {
            const double *in = above ? p : p - 2, *off = above ? p - 2 : p;
            const double h_in = above ? h[i] : h[i - 1], h_off = above ? h[i - 1] : h[i];
            if (h_in > 0.0) push_meeting(out, in, h_in, off, h_off, plane);
        }
        if (above) out.push(p[0], p[1]);
        if (!above || i + 1 == n) {
            if (out.size >= start + 2) {
                out.close();
                start = out.size;
            } else {
                out.size = start;
            }
        }
    }
    return true;
}

void merge_parts(Parts& parts) {
    std::vector<double> merged;
    const double* const root = parts.xy.data();
    for (std::size_t k = 0; k < parts.ends.size(); ++k) {
        const double* first = root + 2 * parts.start(k);
        merged.insert(merged.end(), first, root + 2 * parts.ends[k]);
        merged.insert(merged.end(), first, first + 2);
        if (k > 0) merged.insert(merged.end(), root, root + 2);
    }
    parts.xy.swap(merged);
    parts.size = static_cast<std::int64_t>(parts.xy.size() / 2) - 1;
    parts.ends.assign(1, parts.size);
}

}  // namespace dcap
