// Numbers for the fuzz driver, the same in every run, and what it says when a promise is broken.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <random>

struct Corpus {
    std::mt19937_64 random{20240607};

    std::int64_t whole(std::int64_t low, std::int64_t high) {
        return low + static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(high - low + 1));
    }
    double real(double low, double high) {
        return low + (high - low) * (static_cast<double>(random() >> 11) / 9007199254740992.0);
    }

    double coordinate(int style) {
        static const double odd[] = {0.0, -0.0, 1e12, -1e12, 1e150, 5e-324, 1e-300, 0.1, 640.0, 1e16};
        static const double broken[] = {std::nan(""), std::numeric_limits<double>::infinity(),
                                        -std::numeric_limits<double>::infinity(), 1e308, -1e300};
        if (style == 0) return static_cast<double>(whole(0, 6));
        if (style == 1) return real(-10.0, 110.0);
        if (style == 2) return odd[whole(0, 9)];
        if (style == 3) return real(-1e12, 1e12);
        if (style == 4) return real(0.0, 1.0) * 1e-9 + 50.0;
        // Whole numbers on both sides of what fits the integers of a predicate, with many ties.
        if (style == 6) return static_cast<double>(whole(0, 2) == 0 ? whole(-8200, 8200) : 4096 * whole(-1, 2));
        return whole(0, 20) == 0 ? broken[whole(0, 4)] : real(0.0, 100.0);
    }
};

inline void require(bool holds, const char* what) {
    if (holds) return;
    std::fprintf(stderr, "fuzz: %s\n", what);
    std::exit(1);
}
