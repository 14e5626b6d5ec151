#include "paradigm/byte_encoding.h"

#include <stdexcept>

namespace paradigm {

EncodingTable identity_encoding() {
    EncodingTable table;
    for (int byte = 0; byte < 256; ++byte) table[byte] = byte;
    return table;
}

ByteEncoding::ByteEncoding(const EncodingTable& table, std::string_view alphabet) : table_(table) {
    for (const char byte : alphabet) {
        const int32_t token = id(byte);
        const std::string name = "encoding[" + std::to_string(static_cast<uint8_t>(byte)) + "]";
        if (token < 0) throw std::invalid_argument(name + " must be a token id >= 0, got " + std::to_string(token));
        if (!bytes_.emplace(token, byte).second) {
            throw std::invalid_argument(name + " must differ from the other bytes' ids, got " + std::to_string(token) + " twice");
        }
    }
}

std::vector<int32_t> ByteEncoding::encode(std::string_view bytes) const {
    std::vector<int32_t> tokens(bytes.size());
    for (std::size_t i = 0; i < bytes.size(); ++i) tokens[i] = id(bytes[i]);
    return tokens;
}

std::string ByteEncoding::decode(const int32_t* tokens, std::size_t length) const {
    std::string bytes(length, '\0');
    for (std::size_t i = 0; i < length; ++i) {
        const auto found = bytes_.find(tokens[i]);
        if (found != bytes_.end()) bytes[i] = found->second;
    }
    return bytes;
}

}  // namespace paradigm
