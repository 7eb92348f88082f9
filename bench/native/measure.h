// SPDX-License-Identifier: Apache-2.0
// How the native benches measure: processor time of the calling thread, so that other programs on the machine
// affect the result less, in rounds whose numbers are printed raw, one JSON object per line. Things to be
// compared are measured in alternation within each round; the reader of the lines computes medians and noise
// (bench/shared).
#pragma once

#include <time.h>

#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

namespace psp {

inline double thread_ns() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

// Nanoseconds per item of `work` for `count` items.
template <typename Work>
double ns_per(uint64_t count, Work&& work) {
  const double before = thread_ns();
  work();
  return (thread_ns() - before) / static_cast<double>(count);
}

// Prints one line of output.
class Line {
 public:
  explicit Line(const std::string& bench) : text_("{\"bench\":\"" + bench + "\"") {}
  Line& text(const std::string& name, const std::string& value) { return raw(name, "\"" + value + "\""); }
  Line& number(const std::string& name, double value) {
    char digits[32];
    std::snprintf(digits, sizeof digits, "%.6g", value);
    return raw(name, digits);
  }
  Line& numbers(const std::string& name, const std::vector<double>& values) {
    std::string list;
    for (double value : values) {
      char digits[32];
      std::snprintf(digits, sizeof digits, "%s%.6g", list.empty() ? "" : ",", value);
      list += digits;
    }
    return raw(name, "[" + list + "]");
  }
  ~Line() {
    std::printf("%s}\n", text_.c_str());
    std::fflush(stdout);
  }

 private:
  Line& raw(const std::string& name, const std::string& value) {
    text_ += ",\"" + name + "\":" + value;
    return *this;
  }
  std::string text_;
};

}  // namespace psp
