#include "dcap/lines.hpp"

#include <cstring>

namespace dcap {
namespace {

// What bytes.strip() of Python takes away.
constexpr bool is_space(std::uint8_t byte) noexcept { return byte == ' ' || (byte >= '\t' && byte <= '\r'); }

}  // namespace

Status find_lines(std::span<const std::uint8_t> chunk, std::span<std::int64_t> state, std::span<std::int64_t> starts,
                  std::span<std::int64_t> numbers, std::int64_t& count) noexcept {
    const std::size_t most = chunk.size() / 2 + chunk.size() % 2;
    if (state.size() != kLineStateSize || starts.size() < most || numbers.size() < most) return Status::kBadArgument;
    // Unsigned, since a caller may hand in any state and a sum must not overflow.
    const auto place = static_cast<std::uint64_t>(state[kPlace]);
    auto number = static_cast<std::uint64_t>(state[kNumber]), start = static_cast<std::uint64_t>(state[kStart]);
    bool found = state[kFound] != 0;
    std::size_t n = 0;
    for (std::size_t i = 0; i < chunk.size(); ++i) {
        if (!found) {
            while (i < chunk.size() && chunk[i] != '\n' && is_space(chunk[i])) ++i;
            if (i == chunk.size()) break;
            if (chunk[i] != '\n') {
                starts[n] = static_cast<std::int64_t>(start);
                numbers[n++] = static_cast<std::int64_t>(number);
                found = true;
            }
        }
        // The C library's search takes the widest registers of the processor.
        const void* end = std::memchr(chunk.data() + i, '\n', chunk.size() - i);
        if (end == nullptr) break;
        i = static_cast<std::size_t>(static_cast<const std::uint8_t*>(end) - chunk.data());
        start = place + i + 1;
        ++number;
        found = false;
    }
    state[kPlace] = static_cast<std::int64_t>(place + chunk.size());
    state[kNumber] = static_cast<std::int64_t>(number);
    state[kStart] = static_cast<std::int64_t>(start);
    state[kFound] = found ? 1 : 0;
    count = static_cast<std::int64_t>(n);
    return Status::kOk;
}

}  // namespace dcap
