// Instruction sets that pixel kernels are compiled for, chosen at run time.
#pragma once

#include <cstdint>

#define DCAP_AVX2_FEATURES "avx2"
#define DCAP_AVX512_FEATURES "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi"

namespace dcap {

// Each has what the ones before it have. All write the same bits.
enum class Isa : std::uint8_t { kPortable = 0, kAvx2 = 1, kAvx512 = 2 };

// The widest one that this processor has.
[[nodiscard]] inline Isa widest_isa() noexcept {
#if defined(__x86_64__)
    static const Isa widest = [] {
        if (!__builtin_cpu_supports("avx2")) return Isa::kPortable;
        const bool wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                          __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                          __builtin_cpu_supports("avx512vbmi");
        return wide ? Isa::kAvx512 : Isa::kAvx2;
    }();
    return widest;
#else
    return Isa::kPortable;
#endif
}

}  // namespace dcap
