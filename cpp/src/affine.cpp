#include "dcap/affine.hpp"

#include <algorithm>
#include <cmath>

// Four points per step where the processor has AVX, asked when the program runs. The results are the same to the bit,
// since every point sees the same operations in the same order.
#if defined(__x86_64__) && defined(__GNUC__)
#define DCAP_WIDE
#include <immintrin.h>
#endif

namespace dcap {
#if defined(DCAP_WIDE)
namespace {

bool has_wide() noexcept {
    static const bool has = __builtin_cpu_supports("avx");
    return has;
}

// Bounds of n >= 4 mapped points. The last step starts early enough to be a full one: a point mapped twice from `in`
// is the same point, so here `in` and `out` must not overlap.
__attribute__((target("avx"))) Bounds map_bounded_wide(const Matrix& m, const double* in, std::int64_t n, double* out,
                                                       bool& legal) noexcept {
    const __m256d of_x = _mm256_setr_pd(m[0], m[3], m[0], m[3]), of_y = _mm256_setr_pd(m[1], m[4], m[1], m[4]);
    const __m256d shift = _mm256_setr_pd(m[2], m[5], m[2], m[5]);
    __m256d low[2], high[2], sum[2];
    for (std::int64_t i = 0; i < n; i += 4) {
        const std::int64_t at = 2 * std::min(i, n - 4);
        for (int k = 0; k < 2; ++k) {
            const __m256d v = _mm256_loadu_pd(in + at + 4 * k);
            const __m256d x = _mm256_movedup_pd(v), y = _mm256_permute_pd(v, 0b1111);
            const __m256d p = of_x * x + of_y * y + shift;
            _mm256_storeu_pd(out + at + 4 * k, p);
            low[k] = i == 0 ? p : _mm256_min_pd(p, low[k]);
            high[k] = i == 0 ? p : _mm256_max_pd(p, high[k]);
            sum[k] = i == 0 ? p : sum[k] + p;
        }
    }
    const __m256d least = _mm256_min_pd(low[0], low[1]), most = _mm256_max_pd(high[0], high[1]);
    const __m256d total = sum[0] + sum[1];
    const Extent even(_mm256_castpd256_pd128(least), _mm256_castpd256_pd128(most), _mm256_castpd256_pd128(total));
    const Extent odd(_mm256_extractf128_pd(least, 1), _mm256_extractf128_pd(most, 1), _mm256_extractf128_pd(total, 1));
    return even.join(odd, legal);
}

}  // namespace
#endif

void map_points(const Matrix& m, const double* in, std::int64_t n, double* out) noexcept {
    const Lanes of_x{m[0], m[3]}, of_y{m[1], m[4]}, shift{m[2], m[5]};
    for (std::int64_t i = 0; i < n; ++i) {
        const double x = in[2 * i], y = in[2 * i + 1];
        store(out + 2 * i, of_x * Lanes{x, x} + of_y * Lanes{y, y} + shift);
    }
}

Bounds map_bounded(const Matrix& m, const double* in, std::int64_t n, double* out, bool& legal) noexcept {
#if defined(DCAP_WIDE)
    if (n >= 4 && has_wide()) return map_bounded_wide(m, in, n, out, legal);
#endif
    const Lanes of_x{m[0], m[3]}, of_y{m[1], m[4]}, shift{m[2], m[5]};
    const auto map = [&](std::int64_t i) {
        const double x = in[2 * i], y = in[2 * i + 1];
        const Lanes p = of_x * Lanes{x, x} + of_y * Lanes{y, y} + shift;
        store(out + 2 * i, p);
        return p;
    };
    Extent even(map(0)), odd = even;
    std::int64_t i = 1;
    for (; i + 1 < n; i += 2) {
        even.add(map(i));
        odd.add(map(i + 1));
    }
    if (i < n) even.add(map(i));
    return even.join(odd, legal);
}

std::int64_t map_box(const Matrix& m, const double* in, BoxPolicy policy, double* out) noexcept {
    const bool keeps = is_axis_aligned(m);
    // Corners clockwise on screen; an axis-aligned map needs only the two opposite ones.
    const double corners[8] = {in[0], in[1], in[2], in[1], in[2], in[3], in[0], in[3]};
    double q[8];
    map_points(m, corners, 4, q);
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
        if (box) {
            map_box(m, shapes.points(i), policy, out);
        } else {
            map_points(m, shapes.points(i), count, out);
        }
        for (std::int64_t j = 0; j < 2 * count; ++j) legal &= std::abs(out[j]) <= kMaxCoordinate;
        at += count;
        out_offsets[i + 1] = at;
        out_kinds[i] = box && polygons ? static_cast<std::uint8_t>(kPolygon) : shapes.kinds[i];
    }
    num_points = at;
    return legal ? Status::kOk : Status::kNotFinite;
}

}  // namespace dcap
