// SPDX-License-Identifier: Apache-2.0
// Reads the vector files: blocks of `key: value` lines, separated by empty lines (test/vectors/table.ts).
#pragma once

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "hex.h"
#include "psp/address.h"

namespace psp::test {

using Row = std::map<std::string, std::string>;

inline constexpr char kAbsent[] = "-";

inline std::filesystem::path repository_root() {
  return std::filesystem::path(__FILE__).parent_path() / "../../..";
}

inline std::vector<Row> read_table(const std::string& path) {
  std::ifstream file(repository_root() / path);
  if (!file) throw std::runtime_error("cannot read " + path);
  std::vector<Row> rows;
  Row row;
  std::string line;
  while (std::getline(file, line)) {
    if (line.empty() && !row.empty()) rows.push_back(std::exchange(row, {}));
    if (line.empty() || line[0] == '#') continue;
    const size_t colon = line.find(": ");
    if (colon == std::string::npos) throw std::runtime_error("not a \"key: value\" line: " + line);
    row[line.substr(0, colon)] = line.substr(colon + 2);
  }
  if (!row.empty()) rows.push_back(row);
  return rows;
}

// The address of 4 or 16 octets in hex digits.
inline Address address_of(const std::string& digits) {
  const Octets octets = unhex(digits);
  if (octets.size() == 4) return mapped(octets.data());
  Address address{};
  std::copy(octets.begin(), octets.end(), address.begin());
  return address;
}

}  // namespace psp::test
