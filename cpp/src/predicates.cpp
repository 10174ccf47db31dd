#include "dcap/predicates.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

namespace dcap {
namespace {

struct Sum {
    double value, error;
};

Sum two_sum(double a, double b) noexcept {
    const double s = a + b;
    const double bb = s - a;
    return {s, (a - (s - bb)) + (b - bb)};
}

Sum two_product(double a, double b) noexcept {
    // Dekker's split instead of fma, so that every backend computes the same bits.
    const double p = a * b;
    const double ca = 134217729.0 * a, cb = 134217729.0 * b;
    const double ah = ca - (ca - a), bh = cb - (cb - b);
    const double al = a - ah, bl = b - bh;
    return {p, al * bl - (((p - ah * bh) - al * bh) - ah * bl)};
}

// Whether a - b is not rounded.
bool is_exact_difference(double a, double b) noexcept { return two_sum(a, -b).error == 0.0; }

// An exact number as a sum of doubles that do not overlap, from the smallest to the largest, none of them 0.
// Source: J. R. Shewchuk, "Adaptive precision floating-point arithmetic and fast robust geometric predicates", 1997.
template <int N>
struct Expansion {
    std::array<double, N> terms;
    int size = 0;

    void add(double value) noexcept {
        int kept = 0;
        for (int i = 0; i < size; ++i) {
            const Sum sum = two_sum(value, terms[i]);
            value = sum.value;
            if (sum.error != 0.0) terms[kept++] = sum.error;
        }
        if (value != 0.0) terms[kept++] = value;
        size = kept;
    }
    void add_product(double a, double b) noexcept {
        const Sum product = two_product(a, b);
        add(product.error);
        add(product.value);
    }
    [[nodiscard]] int sign() const noexcept {
        if (size == 0) return 0;
        return terms[size - 1] > 0.0 ? 1 : -1;
    }
};

// A point, or the direction in which an infinitesimal moves one.
struct Place {
    double x, y;
    bool is_point;
};

using Turn = Expansion<12>;
// A shared point asks for two choices of two products of two turns.
using Product = Expansion<4 * 12 * 12 * 2>;

// (b - a) x (c - a) of points; of what is multiplied by one infinitesimal, where a place is a direction.
Turn turn_of(const Place& a, const Place& b, const Place& c) noexcept {
    Turn t;
    if (a.is_point) t.add_product(b.x, c.y), t.add_product(-b.y, c.x);
    if (b.is_point) t.add_product(-a.x, c.y), t.add_product(a.y, c.x);
    if (c.is_point) t.add_product(a.x, b.y), t.add_product(-a.y, b.x);
    return t;
}

void add_product(const Turn& a, const Turn& b, double factor, Product& out) noexcept {
    for (int i = 0; i < a.size; ++i) {
        for (int j = 0; j < b.size; ++j) {
            const Sum product = two_product(a.terms[i], factor * b.terms[j]);
            out.add(product.error);
            out.add(product.value);
        }
    }
}

int sign(double v) noexcept { return (v > 0.0) - (v < 0.0); }

// Sign of a vanishing orientation after the perturbation y_i += e^(4^i), x_i += e^(2 * 4^i).
// Source: H. Edelsbrunner, E. P. Muecke, "Simulation of simplicity", 1990.
int perturbed_sign(const double* a, std::int64_t ia, const double* b, std::int64_t ib, const double* c,
                   std::int64_t ic) noexcept {
    int swaps = 1;
    if (ia > ib) {
        std::swap(a, b);
        std::swap(ia, ib);
        swaps = -swaps;
    }
    if (ib > ic) {
        std::swap(b, c);
        std::swap(ib, ic);
        swaps = -swaps;
    }
    if (ia > ib) {
        std::swap(a, b);
        std::swap(ia, ib);
        swaps = -swaps;
    }
    if (const int s = sign(c[0] - b[0]); s != 0) return swaps * s;
    if (const int s = sign(b[1] - c[1]); s != 0) return swaps * s;
    if (const int s = sign(a[0] - c[0]); s != 0) return swaps * s;
    return swaps;
}

constexpr int kPoints = 6;  // of three edges e, f, g
constexpr int kMostMoved = 4;

// The points of e, f and g, in this order; scaled by a power of two, so that products of four neither overflow nor lose
// bits.
using Points = std::array<Place, kPoints>;

Points scaled(const std::array<const double*, kPoints>& from) noexcept {
    double most = 0.0;
    for (const double* p : from) most = std::max(most, std::max(std::abs(p[0]), std::abs(p[1])));
    int exponent = 0;
    (void)std::frexp(most, &exponent);
    Points to{};
    for (int k = 0; k < kPoints; ++k) {
        to[k] = {std::ldexp(from[k][0], 200 - exponent), std::ldexp(from[k][1], 200 - exponent), true};
    }
    return to;
}

// With whole coordinates up to this w, int64 holds every sum: a turn is at most 6 w^2, and four products of two turns
// are at most 4 (6 w^2)^2 < 2^63.
constexpr double kMostWhole = 8192.0;

struct WholePlace {
    std::int64_t x, y;
    bool is_point;
};
using WholePoints = std::array<WholePlace, kPoints>;

struct WholeSum {
    std::int64_t value = 0;

    [[nodiscard]] int sign() const noexcept { return (value > 0) - (value < 0); }
};

// The same, relative to the first point, where all are whole numbers near each other: most coordinates of annotations
// are, and nothing else has as many ties.
bool find_whole(const std::array<const double*, kPoints>& from, WholePoints& to) noexcept {
    for (int k = 0; k < kPoints; ++k) {
        const double x = from[k][0] - from[0][0], y = from[k][1] - from[0][1];
        // Of whole numbers, a difference as small as that is exact.
        if (!(std::abs(x) <= kMostWhole) || !(std::abs(y) <= kMostWhole)) return false;
        if (from[k][0] != std::floor(from[k][0]) || from[k][1] != std::floor(from[k][1])) return false;
        to[k] = {static_cast<std::int64_t>(x), static_cast<std::int64_t>(y), true};
    }
    return true;
}

std::int64_t turn_of(const WholePlace& a, const WholePlace& b, const WholePlace& c) noexcept {
    std::int64_t t = 0;
    if (a.is_point) t += b.x * c.y - b.y * c.x;
    if (b.is_point) t += a.y * c.x - a.x * c.y;
    if (c.is_point) t += a.x * b.y - a.y * b.x;
    return t;
}

// How a point is moved: not at all, along y, or along x.
constexpr Place kMoved[3] = {{0.0, 0.0, true}, {0.0, 1.0, false}, {1.0, 0.0, false}};
// What a point of both f and g contributes to a product, by rising order of the infinitesimals.
constexpr std::array<std::array<int, 2>, 6> kMovedTwice = {{{0, 0}, {0, 1}, {1, 1}, {0, 2}, {1, 2}, {2, 2}}};

using Moves = std::array<int, kPoints>;

// Add f(q) g(p) - f(p) g(q), where f(.) is the turn of f and a point; places that move stand for their direction.
void add_order(const Points& points, const Moves& moves, Product& out) noexcept {
    Points at = points;
    for (int k = 0; k < kPoints; ++k) {
        if (moves[k] != 0) at[k] = kMoved[moves[k]];
    }
    const auto& [p, q, r, s, u, v] = at;
    add_product(turn_of(r, s, q), turn_of(u, v, p), 1.0, out);
    add_product(turn_of(r, s, p), turn_of(u, v, q), -1.0, out);
}

void add_order(const WholePoints& points, const Moves& moves, WholeSum& out) noexcept {
    WholePoints at = points;
    for (int k = 0; k < kPoints; ++k) {
        if (moves[k] != 0) at[k] = {moves[k] == 2, moves[k] == 1, false};
    }
    const auto& [p, q, r, s, u, v] = at;
    out.value += turn_of(r, s, q) * turn_of(u, v, p) - turn_of(r, s, p) * turn_of(u, v, q);
}

// A point by its number and where it stands among those of e, f, g; -1: it stands there once.
struct Variable {
    std::int64_t index;
    int slot, twin;
};

// Coefficients of the polynomial in the infinitesimals, the largest first, until one is not 0. y of the point with the
// smallest number moves furthest, then its x, then y of the next one, each more than all products of those behind it.
template <class Total, class AnyPoints>
int order_sign(const AnyPoints& points, const std::array<std::int64_t, kPoints>& index) noexcept {
    Total unmoved;
    add_order(points, Moves{}, unmoved);
    if (const int s = unmoved.sign(); s != 0) return s;
    std::array<Variable, kPoints> variables;
    int count = 0;
    for (int k = 0; k < kPoints; ++k) {
        const auto known = std::find_if(variables.begin(), variables.begin() + count,
                                        [&](const Variable& v) { return v.index == index[k]; });
        if (known != variables.begin() + count) {
            known->twin = k;
        } else {
            variables[count++] = {index[k], k, -1};
        }
    }
    std::sort(variables.begin(), variables.begin() + count,
              [](const Variable& a, const Variable& b) { return a.index < b.index; });
    Moves state{}, moves{};
    for (int carry = 0; carry < count;) {
        int moved = 0, twice = -1;
        for (int k = 0; k < count; ++k) {
            const auto [_, slot, twin] = variables[k];
            moves[slot] = twin < 0 ? state[k] : kMovedTwice[state[k]][0];
            moved += moves[slot] != 0;
            if (twin < 0) continue;
            moves[twin] = kMovedTwice[state[k]][1];
            moved += moves[twin] != 0;
            if (moves[slot] != moves[twin]) twice = k;
        }
        if (moved <= kMostMoved) {
            Total sum;
            add_order(points, moves, sum);
            if (twice >= 0) {
                std::swap(moves[variables[twice].slot], moves[variables[twice].twin]);
                add_order(points, moves, sum);
            }
            if (const int s = sum.sign(); s != 0) return s;
        }
        for (carry = 0; carry < count; ++carry) {
            if (++state[carry] < (variables[carry].twin < 0 ? 3 : 6)) break;
            state[carry] = 0;
        }
    }
    return 0;  // only when products underflow
}

}  // namespace

int orientation(const double* a, std::int64_t ia, const double* b, std::int64_t ib, const double* c,
                std::int64_t ic) noexcept {
    const double ax = a[0] - c[0], ay = a[1] - c[1], bx = b[0] - c[0], by = b[1] - c[1];
    const double left = ax * by, right = ay * bx;
    const double det = left - right;
    if (std::abs(det) > 3.3306690738754716e-16 * (std::abs(left) + std::abs(right))) return det > 0.0 ? 1 : -1;
    if (is_exact_difference(a[0], c[0]) && is_exact_difference(a[1], c[1]) && is_exact_difference(b[0], c[0]) &&
        is_exact_difference(b[1], c[1])) {
        // Rounding keeps the order of the products; where they round alike, what they lost decides.
        int s = sign(det);
        if (s == 0) s = sign(two_product(ax, by).error - two_product(ay, bx).error);
        return s != 0 ? s : perturbed_sign(a, ia, b, ib, c, ic);
    }
    const Place points[3] = {{a[0], a[1], true}, {b[0], b[1], true}, {c[0], c[1], true}};
    const int s = turn_of(points[0], points[1], points[2]).sign();
    return s != 0 ? s : perturbed_sign(a, ia, b, ib, c, ic);
}

bool crosses_before(const Edge& e, const Edge& f, const Edge& g) noexcept {
    // With f(p) for the turn of f and p, e meets f at f(p) / (f(p) - f(q)) of its way; both turns differ in sign.
    const int sides = orientation(f.p, f.ip, f.q, f.iq, e.p, e.ip) * orientation(g.p, g.ip, g.q, g.iq, e.p, e.ip);
    const std::array<const double*, kPoints> points{e.p, e.q, f.p, f.q, g.p, g.q};
    const std::array<std::int64_t, kPoints> index{e.ip, e.iq, f.ip, f.iq, g.ip, g.iq};
    WholePoints whole;
    const int order =
        find_whole(points, whole) ? order_sign<WholeSum>(whole, index) : order_sign<Product>(scaled(points), index);
    return sides * order < 0;
}

}  // namespace dcap
