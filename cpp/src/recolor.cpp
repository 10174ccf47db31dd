#include "dcap/recolor.hpp"

#include <array>
#include <bit>
#include <cmath>
#include <cstring>

#include "dcap/vectors.hpp"

// The loops below are plain so that the compiler vectorises them, once for each instruction set that they are inlined
// into; it needs to know that no comparison traps (CMakeLists.txt). Every float operation rounds as IEEE 754 says,
// which gives the same bits everywhere.

namespace dcap {
namespace {

// Pixels that undergo all steps before the next ones do; they stay in the first cache.
constexpr std::int64_t kPixels = 256;

using Plane = std::array<std::uint8_t, kPixels>;
struct alignas(64) Planes {
    Plane red, green, blue;
};

// By value, since GCC does not vectorise std::min and std::max.
template <class T>
DCAP_INLINE T smaller(T a, T b) noexcept {
    return a < b ? a : b;
}
template <class T>
DCAP_INLINE T larger(T a, T b) noexcept {
    return a > b ? a : b;
}

// Round a number from 0 to 255 half to even: behind 1.5 * 2^23 a float has no bits left for fractions.
DCAP_INLINE std::uint8_t rounded(float value) noexcept {
    return static_cast<std::uint8_t>(std::bit_cast<std::uint32_t>(value + 12582912.0f));
}

DCAP_INLINE void saturate(Planes& p, float factor) noexcept {
    for (std::int64_t i = 0; i < kPixels; ++i) {
        const float red = p.red[i], green = p.green[i], blue = p.blue[i];
        const float grey = 0.299f * red + 0.587f * green + 0.114f * blue;
        p.red[i] = rounded(smaller(larger(grey + factor * (red - grey), 0.0f), 255.0f));
        p.green[i] = rounded(smaller(larger(grey + factor * (green - grey), 0.0f), 255.0f));
        p.blue[i] = rounded(smaller(larger(grey + factor * (blue - grey), 0.0f), 255.0f));
    }
}

// Hue, saturation and value without the hue itself: all that is needed of it is its product with the spread, largest
// less smallest channel, which takes no division.
DCAP_INLINE void scale_hsv(Planes& p, float turn, float saturation, float value) noexcept {
    // A factor of 255 takes every saturation and every value above 0 to its end.
    saturation = smaller(saturation, 255.0f);
    value = smaller(value, 255.0f);
    alignas(64) Plane most, spreads;
    alignas(64) std::array<std::int16_t, kPixels> hues;
    for (std::int64_t i = 0; i < kPixels; ++i) {
        most[i] = larger(larger(p.red[i], p.green[i]), p.blue[i]);
        spreads[i] = static_cast<std::uint8_t>(most[i] - smaller(smaller(p.red[i], p.green[i]), p.blue[i]));
    }
    for (std::int64_t i = 0; i < kPixels; ++i) {
        const std::int16_t red = p.red[i], green = p.green[i], blue = p.blue[i], spread = spreads[i];
        const auto near_red = static_cast<std::int16_t>(green - blue);
        const auto near_green = static_cast<std::int16_t>(blue - red + 2 * spread);
        const auto near_blue = static_cast<std::int16_t>(red - green + 4 * spread);
        const std::int16_t largest = most[i];
        hues[i] = largest == red ? near_red : largest == green ? near_green : near_blue;
    }
    for (std::int64_t i = 0; i < kPixels; ++i) {
        const float spread = spreads[i], circle = 6.0f * spread;
        float hue = static_cast<float>(hues[i]) + turn * spread;
        hue = hue >= circle ? hue - circle : hue;
        hue = hue < 0.0f ? hue + circle : hue;
        const float before = most[i], after = smaller(before * value, 255.0f);
        // What one level of spread becomes: saturation is at most 1 afterwards, where all of `after` is spread.
        const float gain = after * saturation / larger(larger(before, 1.0f), saturation * spread);
        const float least = after - gain * spread;
        const float red = std::fabs(hue - 3.0f * spread) - spread;
        const float green = 2.0f * spread - std::fabs(hue - 2.0f * spread);
        const float blue = 2.0f * spread - std::fabs(hue - 4.0f * spread);
        p.red[i] = rounded(least + gain * smaller(larger(red, 0.0f), spread));
        p.green[i] = rounded(least + gain * smaller(larger(green, 0.0f), spread));
        p.blue[i] = rounded(least + gain * smaller(larger(blue, 0.0f), spread));
    }
}

struct Lookup {
    static DCAP_INLINE void replace(Planes& p, const std::uint8_t* table) noexcept {
        for (Plane* plane : {&p.red, &p.green, &p.blue}) {
            for (std::uint8_t& value : *plane) value = table[value];
        }
    }
};

#if defined(__x86_64__)

struct WideLookup {
    // Not inlined, since the templates below are not of this instruction set.
    __attribute__((target(DCAP_AVX512_FEATURES))) static void replace(Planes& p, const std::uint8_t* table) noexcept {
        __m512i quarters[4];
        for (int k = 0; k < 4; ++k) quarters[k] = _mm512_loadu_si512(table + 64 * k);
        for (Plane* plane : {&p.red, &p.green, &p.blue}) {
            for (std::int64_t i = 0; i < kPixels; i += 64) {
                const __m512i values = _mm512_load_si512(plane->data() + i);
                const __m512i dark = _mm512_permutex2var_epi8(quarters[0], values, quarters[1]);
                const __m512i light = _mm512_permutex2var_epi8(quarters[2], values, quarters[3]);
                const __m512i found = _mm512_mask_blend_epi8(_mm512_movepi8_mask(values), dark, light);
                _mm512_store_si512(plane->data() + i, found);
            }
        }
    }
};

#endif

DCAP_INLINE void split(const std::uint8_t* rgb, Planes& p) noexcept {
    for (std::int64_t i = 0; i < kPixels; ++i) {
        p.red[i] = rgb[kChannels * i];
        p.green[i] = rgb[kChannels * i + 1];
        p.blue[i] = rgb[kChannels * i + 2];
    }
}

DCAP_INLINE void join(const Planes& p, std::uint8_t* rgb) noexcept {
    for (std::int64_t i = 0; i < kPixels; ++i) {
        rgb[kChannels * i] = p.red[i];
        rgb[kChannels * i + 1] = p.green[i];
        rgb[kChannels * i + 2] = p.blue[i];
    }
}

template <class Tables>
DCAP_INLINE void apply(const RecolorSteps& steps, Planes& p) noexcept {
    for (std::size_t i = 0; i < steps.kinds.size(); ++i) {
        const float* numbers = steps.numbers.data() + kNumbers * i;
        if (steps.kinds[i] == kTable) Tables::replace(p, steps.tables.data() + kTableSize * i);
        if (steps.kinds[i] == kSaturation) saturate(p, numbers[0]);
        if (steps.kinds[i] == kHsv) scale_hsv(p, numbers[0], numbers[1], numbers[2]);
    }
}

template <class Tables>
DCAP_INLINE void apply_all(std::span<const std::uint8_t> rgb, const RecolorSteps& steps,
                           std::span<std::uint8_t> out) noexcept {
    constexpr std::size_t kBytes = kChannels * kPixels;
    Planes p;
    std::size_t at = 0;
    for (; at + kBytes <= rgb.size(); at += kBytes) {
        split(rgb.data() + at, p);
        apply<Tables>(steps, p);
        join(p, out.data() + at);
    }
    if (at == rgb.size()) return;
    std::array<std::uint8_t, kBytes> rest{};
    std::memcpy(rest.data(), rgb.data() + at, rgb.size() - at);
    split(rest.data(), p);
    apply<Tables>(steps, p);
    join(p, rest.data());
    std::memcpy(out.data() + at, rest.data(), rgb.size() - at);
}

#if defined(__x86_64__)

__attribute__((target(DCAP_AVX512_FEATURES))) void apply_avx512(std::span<const std::uint8_t> rgb,
                                                                const RecolorSteps& steps,
                                                                std::span<std::uint8_t> out) noexcept {
    apply_all<WideLookup>(rgb, steps, out);
}

__attribute__((target(DCAP_AVX2_FEATURES))) void apply_avx2(std::span<const std::uint8_t> rgb,
                                                            const RecolorSteps& steps,
                                                            std::span<std::uint8_t> out) noexcept {
    apply_all<Lookup>(rgb, steps, out);
}

#endif

Status check(const RecolorSteps& steps) noexcept {
    const std::size_t n = steps.kinds.size();
    if (steps.tables.size() != kTableSize * n || steps.numbers.size() != kNumbers * n) return Status::kBadArgument;
    for (std::size_t i = 0; i < n; ++i) {
        if (steps.kinds[i] > kHsv) return Status::kBadColor;
        const std::size_t count = steps.kinds[i] == kTable ? 0 : steps.kinds[i] == kSaturation ? 1 : kNumbers;
        for (const float number : steps.numbers.subspan(kNumbers * i, count)) {
            if (!(number >= 0.0f) || !std::isfinite(number)) return Status::kBadColor;
        }
        if (steps.kinds[i] == kHsv && steps.numbers[kNumbers * i] > 6.0f) return Status::kBadColor;
    }
    return Status::kOk;
}

}  // namespace

Status recolor(std::span<const std::uint8_t> rgb, const RecolorSteps& steps, std::span<std::uint8_t> out,
               Isa isa) noexcept {
    if (rgb.size() % kChannels != 0 || out.size() != rgb.size() || isa > widest_isa()) return Status::kBadArgument;
    if (const Status status = check(steps); status != Status::kOk) return status;
#if defined(__x86_64__)
    if (isa == Isa::kAvx512) {
        apply_avx512(rgb, steps, out);
        return Status::kOk;
    }
    if (isa == Isa::kAvx2) {
        apply_avx2(rgb, steps, out);
        return Status::kOk;
    }
#endif
    apply_all<Lookup>(rgb, steps, out);
    return Status::kOk;
}

}  // namespace dcap
