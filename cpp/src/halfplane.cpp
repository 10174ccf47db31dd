#include "dcap/halfplane.hpp"

#include <algorithm>

namespace dcap {
namespace {

struct Heights {
    bool any_above, any_below;
};

template <class Height>
Heights fill_heights(std::int64_t n, double* h, Height height) {
    std::int64_t above = 0, below = 0;
    for (std::int64_t i = 0; i < n; ++i) {
        h[i] = height(i);
        above |= h[i] > 0.0;
        below |= h[i] < 0.0;
    }
    return {above != 0, below != 0};
}

Heights measure(const double* xy, std::int64_t n, const HalfPlane& plane, std::vector<double>& heights) {
    if (heights.size() < static_cast<std::size_t>(n)) heights.resize(static_cast<std::size_t>(2 * n));
    double* h = heights.data();
    const auto [nx, ny, px, py] = plane;
    // The sides of a rectangle need only one coordinate; the products left out are zeros.
    if (ny == 0.0) return fill_heights(n, h, [=](std::int64_t i) { return nx * (xy[2 * i] - px); });
    if (nx == 0.0) return fill_heights(n, h, [=](std::int64_t i) { return ny * (xy[2 * i + 1] - py); });
    return fill_heights(n, h, [=](std::int64_t i) { return nx * (xy[2 * i] - px) + ny * (xy[2 * i + 1] - py); });
}

// Always from the same end of an edge, met from either side: the point is the same to the bit. From the end nearer to
// the line, the points of two edges keep their order down to the rounding of that end, not of the far one.
void meet(const double* in, double h_in, const double* off, double h_off, const HalfPlane& plane,
          double* point) noexcept {
    const bool from_in = h_in < -h_off;
    const double *from = from_in ? in : off, *to = from_in ? off : in;
    const double t = (from_in ? h_in : h_off) / (from_in ? h_in - h_off : h_off - h_in);
    point[0] = plane.ny == 0.0 ? plane.px : from[0] + (to[0] - from[0]) * t;
    point[1] = plane.nx == 0.0 ? plane.py : from[1] + (to[1] - from[1]) * t;
}

void append_all(const double* xy, std::int64_t n, Parts& out) {
    std::copy(xy, xy + 2 * n, out.xy.data() + 2 * out.size);
    out.size += n;
    out.close();
}

bool equal(const double* p, const double* q) noexcept { return p[0] == q[0] && p[1] == q[1]; }

// Append a chain to the ring under construction. What meets the line in a point that is there already adds none.
void append_chain(const double* xy, std::int64_t n, const Chain& chain, bool forward, std::int64_t ring_start,
                  Parts& out) {
    const double *first = forward ? chain.begin : chain.end, *last = forward ? chain.end : chain.begin;
    const std::int64_t step = forward ? 1 : n - 1;
    std::int64_t i = forward ? chain.first : chain.first + chain.count - 1;
    if (i >= n) i -= n;
    double* to = out.xy.data() + 2 * out.size;
    const auto push = [&](const double* p) {
        store(to, load(p));
        to += 2;
    };
    if (out.size == ring_start || !equal(to - 2, first)) push(first);
    if (!equal(to - 2, xy + 2 * i)) push(xy + 2 * i);
    for (std::int64_t k = 1; k < chain.count; ++k) {
        i = i + step < n ? i + step : i + step - n;
        push(xy + 2 * i);
    }
    if (!equal(to - 2, last)) push(last);
    out.size = (to - out.xy.data()) / 2;
}

void close_ring(std::int64_t ring_start, Parts& out) {
    const double* first = out.xy.data() + 2 * ring_start;
    while (out.size > ring_start + 1 && equal(out.xy.data() + 2 * out.size - 2, first)) --out.size;
    if (out.size < ring_start + 3) {
        out.size = ring_start;
    } else {
        out.close();
    }
}

Port port_of(const double* meeting, const double* in, double h_in, const HalfPlane& plane, std::size_t id) noexcept {
    const double tx = -plane.ny, ty = plane.nx;
    const double at = tx * meeting[0] + ty * meeting[1];
    return {at, (tx * in[0] + ty * in[1] - at) / h_in, static_cast<std::int64_t>(id)};
}

// Collect the runs of vertices above the line; a run may pass the end of the array.
void collect_chains(const double* xy, std::int64_t n, const HalfPlane& plane, CutScratch& s) {
    const double* h = s.heights.data();
    if (s.turns.size() < static_cast<std::size_t>(n + 1)) s.turns.resize(static_cast<std::size_t>(2 * n));
    // The vertices whose side is not that of the one before. Without a branch: nobody could predict it.
    std::int64_t* turns = s.turns.data();
    std::int64_t count = 0;
    bool before = h[n - 1] > 0.0;
    const std::int64_t first = before ? 1 : 0;
    for (std::int64_t i = 0; i < n; ++i) {
        const bool above = h[i] > 0.0;
        turns[count] = i;
        count += above != before;
        before = above;
    }
    turns[count] = turns[0];
    s.chains.clear();
    s.ports.clear();
    for (std::int64_t k = first; k < count + first; k += 2) {
        const std::int64_t enter = turns[k], leave = turns[k + 1];
        const std::int64_t off = (enter == 0 ? n : enter) - 1, last = (leave == 0 ? n : leave) - 1;
        Chain chain{enter, last - enter + (last < enter ? n + 1 : 1), {}, {}};
        meet(xy + 2 * enter, h[enter], xy + 2 * off, h[off], plane, chain.begin);
        meet(xy + 2 * last, h[last], xy + 2 * leave, h[leave], plane, chain.end);
        s.ports.push_back(port_of(chain.begin, xy + 2 * enter, h[enter], plane, 2 * s.chains.size()));
        s.ports.push_back(port_of(chain.end, xy + 2 * last, h[last], plane, 2 * s.chains.size() + 1));
        s.chains.push_back(chain);
    }
}

// A chain that ends where it began is a ring of its own, or a spike that rounding has made flat.
void close_loops(CutScratch& s) {
    std::size_t open = 0;
    for (std::size_t c = 0; c < s.chains.size(); ++c) {
        if (equal(s.chains[c].begin, s.chains[c].end)) {
            s.partner[2 * c] = static_cast<std::int64_t>(2 * c + 1);
            s.partner[2 * c + 1] = static_cast<std::int64_t>(2 * c);
        } else {
            s.ports[open++] = s.ports[2 * c];
            s.ports[open++] = s.ports[2 * c + 1];
        }
    }
    s.ports.resize(open);
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

// Pair the ports along the line and follow chains from partner to partner: each cycle is one ring.
void link_chains(const double* xy, std::int64_t n, bool simple, CutScratch& s, Parts& out) {
    const std::size_t chains = s.chains.size();
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
        const std::int64_t ring_start = out.size, first_port = static_cast<std::int64_t>(2 * c);
        std::int64_t port = first_port;
        do {
            const bool forward = (port & 1) == 0;
            s.done[port / 2] = 1;
            append_chain(xy, n, s.chains[port / 2], forward, ring_start, out);
            port = s.partner[port ^ 1];
        } while (port != first_port);
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
    if (s.chains.size() > 1) {
        link_chains(xy, n, simple, s, out);
        return true;
    }
    const std::int64_t ring_start = out.size;
    append_chain(xy, n, s.chains[0], true, ring_start, out);
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
            if (h_in > 0.0) meet(in, h_in, off, h_off, plane, out.xy.data() + 2 * out.size++);
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
