#include "dcap/warp.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "dcap/vectors.hpp"

namespace dcap {
namespace {

// Positions are whole numbers of 2^-14 pixels. A group that begins 2^16 pixels away, where positions end, never gets
// back to an image of 2^15 pixels with steps of 2^10.
constexpr int kBits = 14;
constexpr double kUnit = 1 << kBits, kFarthest = 1 << 30, kLongestStep = kMaxStep * kUnit;
constexpr int kGroup = 32;
static_assert(kGroup * kMaxStep + kMaxSide <= kFarthest / kUnit);
constexpr int kLanes = 4;  // values per pixel while it is computed: red, green, blue and one that is not used

// Pixels of an output row: the top left one of the four source pixels between which each lies, and where between them.
struct alignas(64) Group {
    std::array<std::int32_t, kGroup> offset;  // of its red value
    std::array<std::int32_t, kGroup> right;   // weight of the two at the right, of 128
    std::array<std::int32_t, kGroup> below;   // weight of the two below, of 2^15
    // 128 (value - 128), summed over all samples.
    std::array<std::int16_t, kLanes * kGroup> sums;
};

struct Source {
    explicit Source(const Image& image) noexcept
        : rgb(image.rgb.data()),
          stride(static_cast<std::int32_t>(kChannels * image.width)),
          right(image.width > 1 ? static_cast<std::int32_t>(kChannels) : 0),
          down(image.height > 1 ? stride : 0),
          last_x(last(image.width)),
          last_y(last(image.height)),
          last_wide(right && down ? static_cast<std::int32_t>(image.rgb.size()) - stride - 8 : -1) {}

    // Just before the last pixel, so that there is one at the right of every position, or one below.
    static std::int32_t last(std::int64_t side) noexcept {
        return static_cast<std::int32_t>(std::max<std::int64_t>(((side - 1) << kBits) - 1, 0));
    }

    const std::uint8_t* rgb;
    std::int32_t stride;
    std::int32_t right, down;     // from a value to its neighbours; 0 where the image has one column or row
    std::int32_t last_x, last_y;  // largest positions
    std::int32_t last_wide;       // largest offset from which 8 values of this and the next row may be read
};

DCAP_INLINE std::int32_t fixed(double value, double most) noexcept {
    return static_cast<std::int32_t>(std::min(std::max(value, -most), most));
}

DCAP_INLINE std::int32_t within(std::int32_t value, std::int32_t most) noexcept {
    const std::int32_t positive = value > 0 ? value : 0;
    return positive < most ? positive : most;
}

// Find the source positions of a group from the first one and the step to the next. Returns the largest offset.
DCAP_INLINE std::int32_t locate(const Source& s, std::int32_t x, std::int32_t y, std::int32_t step_x,
                                std::int32_t step_y, Group& g) noexcept {
    constexpr std::int32_t kFraction = (1 << kBits) - 1;
    // Copies, which no write to the group could change, so that the loop is vectorised.
    const std::int32_t last_x = s.last_x, last_y = s.last_y, stride = s.stride;
    std::int32_t most = 0;
    for (std::int32_t i = 0; i < kGroup; ++i) {
        const std::int32_t at_x = within(x + i * step_x, last_x), at_y = within(y + i * step_y, last_y);
        const std::int32_t offset = (at_y >> kBits) * stride + (at_x >> kBits) * 3;
        g.offset[i] = offset;
        g.right[i] = ((at_x & kFraction) + (1 << (kBits - 8))) >> (kBits - 7);
        g.below[i] = (at_y & kFraction) << (15 - kBits);
        most = offset > most ? offset : most;
    }
    return most;
}

struct Portable {
    static void add(const Source& s, int shift, Group& g) noexcept {
        for (int i = 0; i < kGroup; ++i) {
            const std::uint8_t* p = s.rgb + g.offset[i];
            const std::int32_t right = g.right[i], left = 128 - right;
            for (int channel = 0; channel < kChannels; ++channel, ++p) {
                const std::int32_t above = left * p[0] + right * p[s.right] - 128 * 128;
                const std::int32_t under = left * p[s.down] + right * p[s.down + s.right] - 128 * 128;
                const std::int32_t value = above + (((under - above) * g.below[i] + (1 << 14)) >> 15);
                std::int16_t& sum = g.sums[kLanes * i + channel];
                sum = static_cast<std::int16_t>(sum + (value >> shift));
            }
        }
    }

    static void write(const Group& g, std::uint8_t* rgb) noexcept {
        for (int i = 0; i < kGroup; ++i) {
            for (int channel = 0; channel < kChannels; ++channel) {
                rgb[kChannels * i + channel] =
                    static_cast<std::uint8_t>(((g.sums[kLanes * i + channel] + 64) >> 7) + 128);
            }
        }
    }
};

#if defined(__x86_64__)

// For every 16 bytes that hold two pixels and their neighbours at the right, R G B R G B . . each: pairs of a channel.
#define DCAP_PAIRS 0, 3, 1, 4, 2, 5, -1, -1, 8, 11, 9, 12, 10, 13, -1, -1
// For every 16 bytes that hold 4 pixels as R G B and one more: the three of each.
#define DCAP_PACKED 0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, -1, -1, -1, -1
// For every 16 bytes that hold two pixels' weights, as right, left and two bytes of below in 8 bytes each: which byte
// or which two of them weigh each pair, as 64-bit halves.
constexpr std::int64_t kAcross0 = 0x0100010001000100, kAcross1 = 0x0908090809080908;
constexpr std::int64_t kBelow0 = 0x0302030203020302, kBelow1 = 0x0b0a0b0a0b0a0b0a;

struct Avx2 {
    __attribute__((target(DCAP_AVX2_FEATURES))) static void add(const Source& s, int shift, Group& g) noexcept {
        const __m256i pairs = _mm256_setr_epi8(DCAP_PAIRS, DCAP_PAIRS), flip = _mm256_set1_epi8(-128);
        const __m256i across = _mm256_setr_epi64x(kAcross0, kAcross1, kAcross0, kAcross1);
        const __m256i down = _mm256_setr_epi64x(kBelow0, kBelow1, kBelow0, kBelow1);
        const __m128i count = _mm_cvtsi32_si128(shift);
        for (int i = 0; i < kGroup; i += 4) {
            const __m128i at = _mm_load_si128(reinterpret_cast<const __m128i*>(&g.offset[i]));
            const __m128i right = _mm_load_si128(reinterpret_cast<const __m128i*>(&g.right[i]));
            const __m128i below = _mm_load_si128(reinterpret_cast<const __m128i*>(&g.below[i]));
            // Bytes 128 - right and right.
            const __m128i sides = _mm_add_epi32(_mm_sub_epi32(_mm_slli_epi32(right, 8), right), _mm_set1_epi32(128));
            const __m256i weights = _mm256_cvtepu32_epi64(_mm_or_si128(sides, _mm_slli_epi32(below, 16)));
            const auto* upper_rgb = reinterpret_cast<const long long*>(s.rgb);
            const auto* lower_rgb = reinterpret_cast<const long long*>(s.rgb + s.stride);
            const __m256i upper = _mm256_shuffle_epi8(_mm256_i32gather_epi64(upper_rgb, at, 1), pairs);
            const __m256i lower = _mm256_shuffle_epi8(_mm256_i32gather_epi64(lower_rgb, at, 1), pairs);
            const __m256i by_side = _mm256_shuffle_epi8(weights, across);
            const __m256i above = _mm256_maddubs_epi16(by_side, _mm256_xor_si256(upper, flip));
            const __m256i under = _mm256_maddubs_epi16(by_side, _mm256_xor_si256(lower, flip));
            const __m256i share =
                _mm256_mulhrs_epi16(_mm256_sub_epi16(under, above), _mm256_shuffle_epi8(weights, down));
            auto* sums = reinterpret_cast<__m256i*>(&g.sums[kLanes * i]);
            const __m256i value = _mm256_sra_epi16(_mm256_add_epi16(above, share), count);
            _mm256_store_si256(sums, _mm256_add_epi16(_mm256_load_si256(sums), value));
        }
    }

    __attribute__((target(DCAP_AVX2_FEATURES))) static void write(const Group& g, std::uint8_t* rgb) noexcept {
        const __m256i half = _mm256_set1_epi16(64), flip = _mm256_set1_epi8(-128);
        const __m256i packed = _mm256_setr_epi8(DCAP_PACKED, DCAP_PACKED);
        for (int i = 0; i < kGroup; i += 8) {
            const auto* sums = reinterpret_cast<const __m256i*>(&g.sums[kLanes * i]);
            const __m256i first = _mm256_srai_epi16(_mm256_add_epi16(_mm256_load_si256(sums), half), 7);
            const __m256i second = _mm256_srai_epi16(_mm256_add_epi16(_mm256_load_si256(sums + 1), half), 7);
            const __m256i all = _mm256_permute4x64_epi64(_mm256_packs_epi16(first, second), 0xd8);
            const __m256i bytes = _mm256_shuffle_epi8(_mm256_xor_si256(all, flip), packed);
            // 12 bytes each: the first store writes 4 too many, which the second one mends.
            const __m128i low = _mm256_castsi256_si128(bytes), high = _mm256_extracti128_si256(bytes, 1);
            std::uint8_t* to = rgb + kChannels * i;
            _mm_storeu_si128(reinterpret_cast<__m128i*>(to), low);
            _mm_storeu_si64(to + 12, high);
            _mm_storeu_si32(to + 20, _mm_srli_si128(high, 8));
        }
    }
};

struct Avx512 {
    __attribute__((target(DCAP_AVX512_FEATURES))) static void add(const Source& s, int shift, Group& g) noexcept {
        const __m512i pairs = _mm512_broadcast_i32x4(_mm_setr_epi8(DCAP_PAIRS)), flip = _mm512_set1_epi8(-128);
        const __m512i across = _mm512_broadcast_i32x4(_mm_set_epi64x(kAcross1, kAcross0));
        const __m512i down = _mm512_broadcast_i32x4(_mm_set_epi64x(kBelow1, kBelow0));
        const __m128i count = _mm_cvtsi32_si128(shift);
        for (int i = 0; i < kGroup; i += 8) {
            const __m256i at = _mm256_load_si256(reinterpret_cast<const __m256i*>(&g.offset[i]));
            const __m256i right = _mm256_load_si256(reinterpret_cast<const __m256i*>(&g.right[i]));
            const __m256i below = _mm256_load_si256(reinterpret_cast<const __m256i*>(&g.below[i]));
            const __m256i sides =
                _mm256_add_epi32(_mm256_sub_epi32(_mm256_slli_epi32(right, 8), right), _mm256_set1_epi32(128));
            const __m512i weights = _mm512_cvtepu32_epi64(_mm256_or_si256(sides, _mm256_slli_epi32(below, 16)));
            const __m512i upper = _mm512_shuffle_epi8(_mm512_i32gather_epi64(at, s.rgb, 1), pairs);
            const __m512i lower = _mm512_shuffle_epi8(_mm512_i32gather_epi64(at, s.rgb + s.stride, 1), pairs);
            const __m512i by_side = _mm512_shuffle_epi8(weights, across);
            const __m512i above = _mm512_maddubs_epi16(by_side, _mm512_xor_si512(upper, flip));
            const __m512i under = _mm512_maddubs_epi16(by_side, _mm512_xor_si512(lower, flip));
            const __m512i share =
                _mm512_mulhrs_epi16(_mm512_sub_epi16(under, above), _mm512_shuffle_epi8(weights, down));
            const __m512i value = _mm512_sra_epi16(_mm512_add_epi16(above, share), count);
            std::int16_t* sums = &g.sums[kLanes * i];
            _mm512_store_si512(sums, _mm512_add_epi16(_mm512_load_si512(sums), value));
        }
    }

    __attribute__((target(DCAP_AVX512_FEATURES))) static void write(const Group& g, std::uint8_t* rgb) noexcept {
        alignas(64) std::array<std::uint8_t, 64> from{};
        for (int k = 0; k < 48; ++k) from[k] = static_cast<std::uint8_t>(8 * (k / 3) + 2 * (k % 3));
        const __m512i low_bytes = _mm512_load_si512(from.data());
        const __m512i half = _mm512_set1_epi16(64), flip = _mm512_set1_epi8(-128);
        for (int i = 0; i < kGroup; i += 16) {
            const std::int16_t* sums = &g.sums[kLanes * i];
            const __m512i first = _mm512_srai_epi16(_mm512_add_epi16(_mm512_load_si512(sums), half), 7);
            const __m512i second = _mm512_srai_epi16(_mm512_add_epi16(_mm512_load_si512(sums + 32), half), 7);
            const __m512i bytes = _mm512_xor_si512(_mm512_permutex2var_epi8(first, low_bytes, second), flip);
            _mm512_mask_storeu_epi8(rgb + kChannels * i, (__mmask64{1} << 48) - 1, bytes);
        }
    }
};

#endif

template <class Vectors>
DCAP_INLINE void fill(const Source& s, const Matrix& m, Samples samples, const Canvas& out) noexcept {
    const int shift = static_cast<int>(samples.x * samples.y) / 2;  // 0, 1 and 2 for 1, 2 and 4 samples
    const std::int32_t step_x = fixed(m[0] * kUnit, kLongestStep), step_y = fixed(m[3] * kUnit, kLongestStep);
    const double column_step = 1.0 / static_cast<double>(samples.x), row_step = 1.0 / static_cast<double>(samples.y);
    Group g;
    for (std::int64_t row = 0; row < out.height; ++row) {
        for (std::int64_t column = 0; column < out.width; column += kGroup) {
            g.sums.fill(0);
            for (std::int64_t j = 0; j < samples.y; ++j) {
                const double v = static_cast<double>(row) + (static_cast<double>(j) + 0.5) * row_step;
                for (std::int64_t i = 0; i < samples.x; ++i) {
                    const double u = static_cast<double>(column) + (static_cast<double>(i) + 0.5) * column_step;
                    const std::int32_t x = fixed((m[0] * u + (m[1] * v + m[2]) - 0.5) * kUnit, kFarthest);
                    const std::int32_t y = fixed((m[3] * u + (m[4] * v + m[5]) - 0.5) * kUnit, kFarthest);
                    if (locate(s, x, y, step_x, step_y, g) <= s.last_wide) {
                        Vectors::add(s, shift, g);
                    } else {
                        Portable::add(s, shift, g);
                    }
                }
            }
            std::uint8_t* to = out.rgb.data() + kChannels * (row * out.width + column);
            if (column + kGroup <= out.width) {
                Vectors::write(g, to);
            } else {
                std::array<std::uint8_t, kChannels * kGroup> rest;
                Vectors::write(g, rest.data());
                std::memcpy(to, rest.data(), static_cast<std::size_t>(kChannels * (out.width - column)));
            }
        }
    }
}

#if defined(__x86_64__)

__attribute__((target(DCAP_AVX512_FEATURES))) void fill_avx512(const Source& s, const Matrix& m, Samples samples,
                                                               const Canvas& out) noexcept {
    fill<Avx512>(s, m, samples, out);
}

__attribute__((target(DCAP_AVX2_FEATURES))) void fill_avx2(const Source& s, const Matrix& m, Samples samples,
                                                           const Canvas& out) noexcept {
    fill<Avx2>(s, m, samples, out);
}

#endif

}  // namespace

Status warp(const Image& image, const Matrix& matrix, Samples samples, const Canvas& out, Isa isa) noexcept {
    if (!is_image(image.rgb.size(), image.height, image.width) || !is_image(out.rgb.size(), out.height, out.width)) {
        return Status::kBadArgument;
    }
    const bool halves = (samples.x == 1 || samples.x == 2) && (samples.y == 1 || samples.y == 2);
    if (!halves || isa > widest_isa()) return Status::kBadArgument;
    constexpr std::size_t kMostValues = std::numeric_limits<std::int32_t>::max();
    if (image.rgb.empty() || image.height > kMaxSide || image.width > kMaxSide || image.rgb.size() > kMostValues) {
        return Status::kBadSource;
    }
    for (const double number : matrix) {
        if (!(std::fabs(number) <= kMaxCoordinate)) return Status::kNotFinite;
    }
    // Where a side is one pixel, all steps lead to it.
    if ((image.width > 1 && std::fabs(matrix[0]) > kMaxStep) || (image.height > 1 && std::fabs(matrix[3]) > kMaxStep)) {
        return Status::kBadSource;
    }
    const Source source(image);
#if defined(__x86_64__)
    if (isa == Isa::kAvx512) {
        fill_avx512(source, matrix, samples, out);
        return Status::kOk;
    }
    if (isa == Isa::kAvx2) {
        fill_avx2(source, matrix, samples, out);
        return Status::kOk;
    }
#endif
    fill<Portable>(source, matrix, samples, out);
    return Status::kOk;
}

}  // namespace dcap
