// Vector instructions, for the kernels that are compiled for several instruction sets.
#pragma once

#if defined(__x86_64__)
// GCC warns of the undefined values in its own header when the sanitizers are on.
#pragma GCC diagnostic push
#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#pragma GCC diagnostic pop
#endif

// Inlined into each function that has a target of its own, and so compiled for it.
#define DCAP_INLINE __attribute__((always_inline)) inline
