#include "dcap/affine.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

namespace dcap {
namespace {

void map_corners(const Matrix& m, const double* in, double* out) noexcept {
    const Lanes of_x{m[0], m[3]}, of_y{m[1], m[4]}, shift{m[2], m[5]};
    for (std::int64_t i = 0; i < 4; ++i) {
        const double x = in[2 * i], y = in[2 * i + 1];
        store(out + 2 * i, of_x * Lanes{x, x} + of_y * Lanes{y, y} + shift);
    }
}

// Write the numbers k of a vector to `out`, in that order. GCC has Clang's name for it since version 12 only. (The
// vector is no return value, since how those are passed depends on the instruction set.)
template <class Vector, std::size_t... k>
__attribute__((always_inline)) inline void shuffle(const Vector& v, Vector& out, std::index_sequence<k...>) noexcept {
#if defined(__clang__)
    out = __builtin_shufflevector(v, v, k...);
#else
    typedef std::int64_t Order __attribute__((vector_size(8 * sizeof...(k))));
    out = __builtin_shuffle(v, Order{static_cast<std::int64_t>(k)...});
#endif
}

// Bounds of n mapped points, by two vectors of sizeof...(k) <= n numbers per step. The last step starts early enough to
// be a full one: a point mapped twice from `in` is the same point, so `in` and `out` must not overlap.
template <std::size_t... k>
__attribute__((always_inline)) inline Bounds map_in_vectors(const Matrix& m, const double* in, std::int64_t n,
                                                            double* out, bool& legal,
                                                            std::index_sequence<k...>) noexcept {
    constexpr std::int64_t kWidth = sizeof...(k);
    typedef double Vector __attribute__((vector_size(8 * kWidth)));
    const Vector of_x{m[k % 2 * 3]...}, of_y{m[k % 2 * 3 + 1]...}, shift{m[k % 2 * 3 + 2]...};
    Vector low[2]{}, high[2]{}, sum[2]{};
    for (std::int64_t i = 0; i < n; i += kWidth) {
        const std::int64_t at = 2 * std::min(i, n - kWidth);
        for (int half = 0; half < 2; ++half) {
            Vector v, x, y;
            std::memcpy(&v, in + at + half * kWidth, sizeof v);
            shuffle(v, x, std::index_sequence<(k & ~std::size_t{1})...>());
            shuffle(v, y, std::index_sequence<(k | 1)...>());
            const Vector p = of_x * x + of_y * y + shift;
            std::memcpy(out + at + half * kWidth, &p, sizeof p);
            low[half] = i > 0 ? (p < low[half] ? p : low[half]) : p;
            high[half] = i > 0 ? (p > high[half] ? p : high[half]) : p;
            sum[half] = i > 0 ? sum[half] + p : p;
        }
    }
    low[0] = low[1] < low[0] ? low[1] : low[0];
    high[0] = high[1] > high[0] ? high[1] : high[0];
    sum[0] += sum[1];
    double least[kWidth], most[kWidth], total[kWidth];
    std::memcpy(least, low, sizeof least);
    std::memcpy(most, high, sizeof most);
    std::memcpy(total, sum, sizeof total);
    Extent all(load(least), load(most), load(total));
    for (std::int64_t i = 2; i < kWidth; i += 2) all.add({load(least + i), load(most + i), load(total + i)});
    return all.bounds(legal);
}

// Wider vectors where the processor has them, asked when the program runs. The results are the same to the bit, since
// every point sees the same operations in the same order.
#if defined(__x86_64__)
__attribute__((target("avx"))) Bounds map_by_4(const Matrix& m, const double* in, std::int64_t n, double* out,
                                               bool& legal) noexcept {
    return map_in_vectors(m, in, n, out, legal, std::make_index_sequence<4>());
}

__attribute__((target("avx512f"))) Bounds map_by_8(const Matrix& m, const double* in, std::int64_t n, double* out,
                                                   bool& legal) noexcept {
    return map_in_vectors(m, in, n, out, legal, std::make_index_sequence<8>());
}

int widest() noexcept {
    static const int width = __builtin_cpu_supports("avx512f") ? 8 : __builtin_cpu_supports("avx") ? 4 : 2;
    return width;
}
#endif

}  // namespace

Bounds map_bounded(const Matrix& m, const double* in, std::int64_t n, double* out, bool& legal) noexcept {
#if defined(__x86_64__)
    if (n >= 8 && widest() >= 8) return map_by_8(m, in, n, out, legal);
    if (n >= 4 && widest() >= 4) return map_by_4(m, in, n, out, legal);
#endif
    return map_in_vectors(m, in, n, out, legal, std::make_index_sequence<2>());
}

std::int64_t map_box(const Matrix& m, const double* in, BoxPolicy policy, double* out) noexcept {
    const bool keeps = is_axis_aligned(m);
    // Corners clockwise on screen; an axis-aligned map needs only the two opposite ones.
    const double corners[8] = {in[0], in[1], in[2], in[1], in[2], in[3], in[0], in[3]};
    double q[8];
    map_corners(m, corners, q);
    if (!keeps && policy == BoxPolicy::kPolygon) {
        std::copy(q, q + 8, out);
        return 4;
    }
    out[0] = std::min(std::min(q[0], q[2]), std::min(q[4], q[6]));
    out[1] = std::min(std::min(q[1], q[3]), std::min(q[5], q[7]));
    out[2] = std::max(std::max(q[0], q[2]), std::max(q[4], q[6]));
    out[3] = std::max(std::max(q[1], q[3]), std::max(q[5], q[7]));
    return 2;
}

Status transform(const Shapes& shapes, const Matrix& m, BoxPolicy policy, std::span<double> out_xy,
                 std::span<std::int64_t> out_offsets, std::span<std::uint8_t> out_kinds,
                 std::int64_t& num_points) noexcept {
    if (const Status status = check_layout(shapes); status != Status::kOk) return status;
    const std::int64_t n = shapes.size();
    if (out_offsets.size() != shapes.offsets.size() || out_kinds.size() != shapes.kinds.size()) {
        return Status::kBadArgument;
    }
    const std::int64_t capacity = static_cast<std::int64_t>(out_xy.size() / 2);
    const bool polygons = !is_axis_aligned(m) && policy == BoxPolicy::kPolygon;
    bool legal = true;
    std::int64_t at = 0;
    out_offsets[0] = 0;
    for (std::int64_t i = 0; i < n; ++i) {
        const bool box = shapes.kinds[i] == kBox;
        const std::int64_t count = box ? (polygons ? 4 : 2) : shapes.count(i);
        if (at + count > capacity) return Status::kBadArgument;
        double* out = out_xy.data() + 2 * at;
        bool in_range = true;
        if (box) {
            map_box(m, shapes.points(i), policy, out);
            for (std::int64_t j = 0; j < 2 * count; ++j) in_range &= std::abs(out[j]) <= kMaxCoordinate;
        } else {
            static_cast<void>(map_bounded(m, shapes.points(i), count, out, in_range));
        }
        legal &= in_range;
        at += count;
        out_offsets[i + 1] = at;
        out_kinds[i] = box && polygons ? static_cast<std::uint8_t>(kPolygon) : shapes.kinds[i];
    }
    num_points = at;
    return legal ? Status::kOk : Status::kNotFinite;
}

}  // namespace dcap
