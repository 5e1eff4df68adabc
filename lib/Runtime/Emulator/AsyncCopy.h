//===- AsyncCopy.h - copies that a thread has begun -----------------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MOE_LIB_RUNTIME_EMULATOR_ASYNCCOPY_H
#define MOE_LIB_RUNTIME_EMULATOR_ASYNCCOPY_H

#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

namespace moe::rt::simt {

/// A copy to shared memory; the last `bytes - sourceBytes` bytes become zero.
struct AsyncCopy {
  char *to;
  const char *from;
  uint32_t bytes, sourceBytes;

  void perform() const {
    memcpy(to, from, sourceBytes);
    memset(to + sourceBytes, 0, bytes - sourceBytes);
  }
};

/// The copies (cp.async) of one thread, oldest first. They are done at the latest moment the hardware would allow: when
/// the thread waits for them. So code that forgets to wait sees old data.
class AsyncCopies {
public:
  void add(const AsyncCopy &copy) { copies.push_back(copy); }
  void commit() { groupEnds.push_back(uint32_t(copies.size())); }

  /// Calls `finish` for the copies of all groups but the last `pending`.
  template <typename Finish> void wait(uint32_t pending, Finish &&finish) {
    if (groupEnds.size() <= pending)
      return;
    size_t groups = groupEnds.size() - pending;
    uint32_t end = groupEnds[groups - 1];
    for (uint32_t i = 0; i < end; ++i)
      finish(copies[i]);
    copies.erase(copies.begin(), copies.begin() + end);
    groupEnds.erase(groupEnds.begin(), groupEnds.begin() + groups);
    for (uint32_t &groupEnd : groupEnds)
      groupEnd -= end;
  }

  /// All of them, which from now on are the business of others.
  std::vector<AsyncCopy> take() {
    groupEnds.clear();
    return std::exchange(copies, {});
  }

  bool empty() const { return copies.empty(); }
  size_t pendingGroups() const { return groupEnds.size(); }

  void clear() {
    copies.clear();
    groupEnds.clear();
  }

private:
  std::vector<AsyncCopy> copies;
  std::vector<uint32_t> groupEnds; // in `copies`
};

} // namespace moe::rt::simt

#endif // MOE_LIB_RUNTIME_EMULATOR_ASYNCCOPY_H
