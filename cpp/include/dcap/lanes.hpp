// Two doubles, the x and y of a point, handled at once; plain code where there is no SSE2. The results are the same.
#pragma once

#include <cstring>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace dcap {

using Lanes = double __attribute__((vector_size(16)));

[[nodiscard]] inline Lanes load(const double* p) noexcept {
    Lanes v;
    std::memcpy(&v, p, sizeof v);
    return v;
}

inline void store(double* p, Lanes v) noexcept { std::memcpy(p, &v, sizeof v); }

// Both return b when a is NaN.
[[nodiscard]] inline Lanes smaller(Lanes a, Lanes b) noexcept {
#if defined(__SSE2__)
    return _mm_min_pd(a, b);
#else
    return Lanes{a[0] < b[0] ? a[0] : b[0], a[1] < b[1] ? a[1] : b[1]};
#endif
}

[[nodiscard]] inline Lanes larger(Lanes a, Lanes b) noexcept {
#if defined(__SSE2__)
    return _mm_max_pd(a, b);
#else
    return Lanes{a[0] > b[0] ? a[0] : b[0], a[1] > b[1] ? a[1] : b[1]};
#endif
}

}  // namespace dcap
