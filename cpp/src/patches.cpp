#include "dcap/patches.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <type_traits>

#include "dcap/vectors.hpp"

namespace dcap {
namespace {

// Patches for training hold the image twice, once per time step.
template <class T>
constexpr std::int64_t kSteps = std::is_same_v<T, std::uint8_t> ? 1 : 2;
template <class T>
constexpr std::int64_t kPatchValues = kChannels * kSteps<T> * kArea;

// Where the first pixel of patch i lies in the image.
std::int64_t offset_of(std::int64_t i, std::int64_t width) noexcept {
    const std::int64_t block = i / 4, blocks = width / kBlock;
    const std::int64_t y = block / blocks * kBlock + i % 4 / 2 * kPatch;
    const std::int64_t x = block % blocks * kBlock + i % 2 * kPatch;
    return kChannels * (y * width + x);
}

template <class T>
constexpr T convert(std::uint8_t value) noexcept {
    const float normalised = (static_cast<float>(value) - 127.5f) / 127.5f;
    if constexpr (std::is_same_v<T, float>) return normalised;
    if constexpr (std::is_same_v<T, std::uint16_t>) {
        const auto bits = std::bit_cast<std::uint32_t>(normalised);
        return static_cast<std::uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
    }
    if constexpr (std::is_same_v<T, std::uint8_t>) return value;
}

template <class T>
void write_portable(const Image& image, std::span<T> out) noexcept {
    std::array<T, 256> values;
    for (int v = 0; v < 256; ++v) values[v] = convert<T>(static_cast<std::uint8_t>(v));
    T* to = out.data();
    for (std::int64_t i = 0; to != out.data() + out.size(); ++i, to += kPatchValues<T>) {
        const std::uint8_t* from = image.rgb.data() + offset_of(i, image.width);
        for (std::int64_t channel = 0; channel < kChannels; ++channel) {
            T* plane = to + channel * kSteps<T> * kArea;
            for (std::int64_t y = 0; y < kPatch; ++y) {
                const std::uint8_t* row = from + kChannels * y * image.width + channel;
                for (std::int64_t x = 0; x < kPatch; ++x) plane[y * kPatch + x] = values[row[kChannels * x]];
            }
            if constexpr (kSteps<T> == 2) std::copy_n(plane, kArea, plane + kArea);
        }
    }
}

#if defined(__x86_64__)

// (x - 127.5) / 127.5 is n / 255 with n = 2 x - 255, and 1 / 255 is a sum of two numbers of which the first is so short
// that its product is exact. Two products and a sum are as exact as a division and several times as fast.
constexpr float kHigh = 0x1.01p-8f, kLow = static_cast<float>(1.0 / 255.0 - 0x1.01p-8);

constexpr bool is_exact() {
    for (int v = 0; v < 256; ++v) {
        const float n = static_cast<float>(2 * v - 255);
        if (n * kHigh + n * kLow != convert<float>(static_cast<std::uint8_t>(v))) return false;
    }
    return true;
}
static_assert(is_exact());

#define DCAP_AVX2 __attribute__((target(DCAP_AVX2_FEATURES), always_inline)) inline
#define DCAP_AVX512 __attribute__((target(DCAP_AVX512_FEATURES), always_inline)) inline

// The lower 8 values, normalised.
DCAP_AVX2 __m256 normalised_8(__m128i values) noexcept {
    const __m256 x = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(values));
    const __m256 n = _mm256_sub_ps(_mm256_add_ps(x, x), _mm256_set1_ps(255.0f));
    return _mm256_add_ps(_mm256_mul_ps(n, _mm256_set1_ps(kHigh)), _mm256_mul_ps(n, _mm256_set1_ps(kLow)));
}

DCAP_AVX2 __m256i rounded_8(__m256 values) noexcept {
    const __m256i bits = _mm256_castps_si256(values);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    return _mm256_srli_epi32(_mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff))), 16);
}

// Write 16 values of one channel into every time step.
DCAP_AVX2 void put_avx2(__m128i values, float* out) noexcept {
    const __m256 low = normalised_8(values), high = normalised_8(_mm_srli_si128(values, 8));
    for (std::int64_t at = 0; at < 2 * kArea; at += kArea) {
        _mm256_storeu_ps(out + at, low);
        _mm256_storeu_ps(out + at + 8, high);
    }
}

DCAP_AVX2 void put_avx2(__m128i values, std::uint16_t* out) noexcept {
    const __m256i low = rounded_8(normalised_8(values)), high = rounded_8(normalised_8(_mm_srli_si128(values, 8)));
    const __m256i all = _mm256_permute4x64_epi64(_mm256_packus_epi32(low, high), 0xd8);
    for (std::int64_t at = 0; at < 2 * kArea; at += kArea) {
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + at), all);
    }
}

DCAP_AVX2 void put_avx2(__m128i values, std::uint8_t* out) noexcept {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), values);
}

// Bytes to gather from each third of 16 interleaved pixels; the others become 0.
constexpr auto kGather = [] {
    std::array<std::array<std::array<std::int8_t, 16>, 3>, kChannels> from{};
    for (int channel = 0; channel < kChannels; ++channel) {
        for (int third = 0; third < 3; ++third) {
            for (int x = 0; x < kPatch; ++x) {
                const int at = 3 * x + channel - 16 * third;
                from[channel][third][x] = static_cast<std::int8_t>(at >= 0 && at < 16 ? at : -1);
            }
        }
    }
    return from;
}();

template <class T>
__attribute__((target(DCAP_AVX2_FEATURES))) void write_avx2(const Image& image, std::span<T> out) noexcept {
    T* to = out.data();
    for (std::int64_t i = 0; to != out.data() + out.size(); ++i, to += kPatchValues<T>) {
        const std::uint8_t* from = image.rgb.data() + offset_of(i, image.width);
        for (std::int64_t y = 0; y < kPatch; ++y) {
            const auto* row = reinterpret_cast<const __m128i*>(from + y * kChannels * image.width);
            const __m128i thirds[3] = {_mm_loadu_si128(row), _mm_loadu_si128(row + 1), _mm_loadu_si128(row + 2)};
            for (std::int64_t channel = 0; channel < kChannels; ++channel) {
                __m128i values = _mm_setzero_si128();
                for (int third = 0; third < 3; ++third) {
                    const auto* mask = reinterpret_cast<const __m128i*>(kGather[channel][third].data());
                    values = _mm_or_si128(values, _mm_shuffle_epi8(thirds[third], _mm_loadu_si128(mask)));
                }
                put_avx2(values, to + channel * kSteps<T> * kArea + y * kPatch);
            }
        }
    }
}

DCAP_AVX512 __m512 normalised_16(__m128i values) noexcept {
    const __m512 x = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(values));
    const __m512 n = _mm512_sub_ps(_mm512_add_ps(x, x), _mm512_set1_ps(255.0f));
    return _mm512_add_ps(_mm512_mul_ps(n, _mm512_set1_ps(kHigh)), _mm512_mul_ps(n, _mm512_set1_ps(kLow)));
}

DCAP_AVX512 void put_avx512(__m128i values, float* out) noexcept {
    const __m512 all = normalised_16(values);
    _mm512_storeu_ps(out, all);
    _mm512_storeu_ps(out + kArea, all);
}

DCAP_AVX512 void put_avx512(__m128i values, std::uint16_t* out) noexcept {
    const __m512i bits = _mm512_castps_si512(normalised_16(values));
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i sum = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    const __m256i all = _mm512_cvtepi32_epi16(_mm512_srli_epi32(sum, 16));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), all);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + kArea), all);
}

DCAP_AVX512 void put_avx512(__m128i values, std::uint8_t* out) noexcept {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), values);
}

template <class T>
__attribute__((target(DCAP_AVX512_FEATURES))) void write_avx512(const Image& image, std::span<T> out) noexcept {
    constexpr __mmask64 kRow = (__mmask64{1} << kChannels * kPatch) - 1;
    alignas(64) std::array<std::uint8_t, 64> gather{};
    for (int k = 0; k < kChannels * kPatch; ++k) gather[k] = static_cast<std::uint8_t>(k % kPatch * 3 + k / kPatch);
    const __m512i by_channel = _mm512_load_si512(gather.data());
    T* to = out.data();
    for (std::int64_t i = 0; to != out.data() + out.size(); ++i, to += kPatchValues<T>) {
        const std::uint8_t* from = image.rgb.data() + offset_of(i, image.width);
        for (std::int64_t y = 0; y < kPatch; ++y) {
            const __m512i pixels = _mm512_maskz_loadu_epi8(kRow, from + y * kChannels * image.width);
            const __m512i row = _mm512_permutexvar_epi8(by_channel, pixels);
            T* at = to + y * kPatch;
            put_avx512(_mm512_castsi512_si128(row), at);
            put_avx512(_mm512_extracti32x4_epi32(row, 1), at + kSteps<T> * kArea);
            put_avx512(_mm512_extracti32x4_epi32(row, 2), at + 2 * kSteps<T> * kArea);
        }
    }
}

#endif

template <class T>
Status write(const Image& image, std::span<T> out, Isa isa) noexcept {
    const auto size = static_cast<std::int64_t>(image.rgb.size()), height = image.height, width = image.width;
    if (height < kBlock || width < kBlock || height % kBlock != 0 || width % kBlock != 0) return Status::kBadImage;
    if (!is_image(image.rgb.size(), height, width)) return Status::kBadImage;
    if (static_cast<std::int64_t>(out.size()) != kSteps<T> * size) return Status::kBadArgument;
    if (isa > widest_isa()) return Status::kBadArgument;
#if defined(__x86_64__)
    if (isa == Isa::kAvx512) {
        write_avx512(image, out);
        return Status::kOk;
    }
    if (isa == Isa::kAvx2) {
        write_avx2(image, out);
        return Status::kOk;
    }
#endif
    write_portable(image, out);
    return Status::kOk;
}

}  // namespace

Status patchify(const Image& image, std::span<float> out, Isa isa) noexcept { return write(image, out, isa); }

Status patchify(const Image& image, std::span<std::uint16_t> out, Isa isa) noexcept { return write(image, out, isa); }

Status patchify(const Image& image, std::span<std::uint8_t> out, Isa isa) noexcept { return write(image, out, isa); }

}  // namespace dcap
