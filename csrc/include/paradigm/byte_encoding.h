// The bytes a native environment speaks, as token ids: the identity for byte-level tokenizers, a table for any other
// tokenizer that has a token for each byte in use.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace paradigm {

using EncodingTable = std::array<int32_t, 256>;

EncodingTable identity_encoding();

class ByteEncoding {
  public:
    // Throws std::invalid_argument unless the bytes of `alphabet` have distinct non-negative ids.
    ByteEncoding(const EncodingTable& table, std::string_view alphabet);

    int32_t id(char byte) const { return table_[static_cast<uint8_t>(byte)]; }
    std::vector<int32_t> encode(std::string_view bytes) const;

    // One byte a token; a token outside the alphabet becomes '\0', which no grammar here contains.
    std::string decode(const int32_t* tokens, std::size_t length) const;

  private:
    EncodingTable table_;
    std::unordered_map<int32_t, char> bytes_;
};

}  // namespace paradigm
