// One line of JSON, token by token. Nothing is copied: texts and values are told by which characters they are.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <string_view>

namespace dcap {

inline constexpr std::int64_t kMostDigits = 18;                    // of a number
inline constexpr std::int64_t kMostWhole = std::int64_t{1} << 31;  // bound on numbers that must be whole
inline constexpr std::int64_t kMostExact = std::int64_t{1} << 53;  // doubles hold every whole number up to it

namespace json {

inline constexpr auto kPowers = [] {
    std::array<std::int64_t, kMostDigits + 1> powers{1};
    for (std::size_t i = 1; i < powers.size(); ++i) powers[i] = 10 * powers[i - 1];
    return powers;
}();

// What a byte of a text does.
enum Class : std::uint8_t { kBlank, kVisible, kContinuation, kQuote, kEscape, kControl };
inline constexpr auto kClasses = [] {
    std::array<Class, 256> classes{};
    for (std::size_t byte = 0; byte < classes.size(); ++byte) {
        // 0x80 to 0xbf go on with a character; 0xc2 and 0xe1 to 0xe3 begin what may be white space.
        classes[byte] = byte < ' ' ? kControl : byte >= 0x80 && byte < 0xc0 ? kContinuation : kBlank;
        if ((byte > ' ' && byte < 0x80) || byte >= 0xe4) classes[byte] = kVisible;
    }
    classes['"'] = kQuote;
    classes['\\'] = kEscape;
    return classes;
}();

// value / 10^decimals, rounded half to even, for a value of more than 53 bits; false where it is out of range.
inline bool long_decimal(std::int64_t value, std::int64_t decimals, double& out) noexcept {
    const std::int64_t power = kPowers[decimals];
    std::int64_t quotient = value / power, rest = value % power, scale = 1;
    if (quotient >= kMostWhole) return false;
    for (; quotient < kMostExact; scale *= 2) {  // a bit of the fraction at a time, until there are 54
        rest *= 2;
        const bool one = rest >= power;
        rest -= one ? power : 0;
        quotient = 2 * quotient + one;
    }
    const bool half = quotient & 1;
    quotient >>= 1;
    if (half && (rest != 0 || (quotient & 1))) ++quotient;
    out = static_cast<double>(quotient) / static_cast<double>(scale / 2);
    return true;
}

}  // namespace json

// A place in a line. Every function moves behind what it reads and returns whether that was there.
class JsonLine {
  public:
    explicit JsonLine(std::span<const std::uint8_t> line) noexcept
        : begin_(line.data()), at_(line.data()), end_(line.data() + line.size()) {}

    // The next byte; 0, which stands nowhere in JSON, behind the end.
    [[nodiscard]] std::uint8_t peek() const noexcept { return at_ < end_ ? *at_ : 0; }
    [[nodiscard]] bool at_end() const noexcept { return at_ == end_; }

    void skip_space() noexcept {
        while (peek() == ' ' || peek() == '\t' || peek() == '\r' || peek() == '\n') ++at_;
    }

    // One sign, with white space before it.
    bool take(char wanted) noexcept {
        if (peek() != wanted) skip_space();
        const bool found = peek() == wanted;
        at_ += found;
        return found;
    }

    bool take_null() noexcept {
        skip_space();
        if (end_ - at_ < 4 || chars(at_, at_ + 4) != "null") return false;
        at_ += 4;
        return true;
    }

    // A key of small letters, digits 2 and underscores, with its colon.
    bool key(std::string_view& name) noexcept {
        if (!take('"')) return false;
        const std::uint8_t* start = at_;
        while (peek() == '_' || (peek() >= 'a' && peek() <= 'z') || peek() == '2') ++at_;
        name = chars(start, at_);
        if (peek() != '"') return false;
        ++at_;
        return take(':');
    }

    // A number of at most 18 digits without sign and exponent, correctly rounded.
    bool number(double& out) noexcept {
        skip_space();
        const std::uint8_t* start = at_;
        std::uint64_t value = 0;  // wraps where there are too many digits, which is found below
        digits(value);
        std::int64_t whole = at_ - start, decimals = 0;
        if (whole == 0 || (whole > 1 && *start == '0')) return false;
        if (*start == '0') whole = 0;
        if (peek() == '.') {
            const std::uint8_t* before = ++at_;
            digits(value);
            decimals = at_ - before;
            if (decimals == 0) return false;
        }
        if (whole + decimals > kMostDigits) return false;
        const auto exact = static_cast<std::int64_t>(value);
        if (exact > kMostExact) return json::long_decimal(exact, decimals, out);
        // Both are exact, so one division rounds once.
        out = static_cast<double>(exact) / static_cast<double>(json::kPowers[decimals]);
        return true;
    }

    // A whole number below 2^31 without a sign.
    bool whole_number(std::int64_t& out) noexcept {
        skip_space();
        const std::uint8_t* start = at_;
        double value = 0.0;
        if (!number(value) || value >= static_cast<double>(kMostWhole)) return false;
        out = static_cast<std::int64_t>(value);
        return std::find(start, at_, '.') == at_;
    }

    // A text that is not empty: its first and last + 1 character, and 1 when it has a backslash or maybe only white
    // space, else 0.
    bool text(std::span<std::int64_t, 3> row) noexcept {
        if (!take('"')) return false;
        row[0] = character();
        bool needs_look = false;
        const bool ends = skip_text(needs_look);
        row[1] = character() - 1;
        row[2] = needs_look ? 1 : 0;
        return ends && row[1] > row[0];
    }

    // An object or a list, from its bracket to the one that ends it, whatever stands in between: its first and
    // last + 1 character, and how many colons stand outside of texts.
    bool value(std::span<std::int64_t, 3> row) noexcept {
        row[0] = character();
        std::int64_t depth = 0;
        row[2] = 0;
        do {
            const std::uint8_t byte = peek();
            if (byte == 0) return false;
            ++at_;
            bool unused = false;
            if (byte == '"' && !skip_text(unused)) return false;
            depth += (byte == '{' || byte == '[') - (byte == '}' || byte == ']');
            row[2] += byte == ':';
            continuations_ += json::kClasses[byte] == json::kContinuation;
        } while (depth > 0);
        row[1] = character();
        return true;
    }

  private:
    static std::string_view chars(const std::uint8_t* first, const std::uint8_t* last) noexcept {
        return {reinterpret_cast<const char*>(first), static_cast<std::size_t>(last - first)};
    }

    [[nodiscard]] std::int64_t character() const noexcept { return (at_ - begin_) - continuations_; }

    void digits(std::uint64_t& value) noexcept {
        for (; at_ < end_ && *at_ >= '0' && *at_ <= '9'; ++at_) value = 10 * value + (*at_ - '0');
    }

    // From behind a quote to behind the one that ends the text.
    bool skip_text(bool& needs_look) noexcept {
        bool visible = false, escaped = false;
        for (; at_ < end_; ++at_) {
            const json::Class what = json::kClasses[*at_];
            visible |= what == json::kVisible;
            if (what < json::kContinuation) continue;
            if (what == json::kControl) return false;
            if (what == json::kQuote) {
                ++at_;
                needs_look = escaped || !visible;
                return true;
            }
            if (what == json::kContinuation) {
                ++continuations_;
            } else {
                escaped = true;
                if (at_ + 1 < end_ && (at_[1] == '"' || at_[1] == '\\')) ++at_;
            }
        }
        return false;
    }

    const std::uint8_t *begin_, *at_, *end_;
    std::int64_t continuations_ = 0;  // bytes so far that go on with a character
};

}  // namespace dcap
