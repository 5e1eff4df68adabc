//===- ThreadPool.cpp - worker threads of the runtime ---------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A loop is cut into one contiguous range of iterations for each thread. A thread takes pieces from the front of its
// own range and, when that is empty, from the ends of others', so that each mostly works on the same part of the data
// in every call, and none waits for one that was late or had more to do.
//
// The caller offers a loop to its workers by a ticket that each of them watches, works on it itself, and closes it when
// nothing is left to take. A worker that comes later finds it closed; the caller waits for those inside only. So a loop
// never waits for a worker to wake up. Waiting for a ticket spins briefly (the gap between two loops of a layer is
// shorter than a wake-up) and then sleeps on a futex.
//
// A sleeper first announces itself and then lets the kernel compare the word; a waker first changes the word and then
// looks for the announcement. Both pairs are sequentially consistent, so one of the two sees the other.
//
//===----------------------------------------------------------------------===//

#include "moe/Runtime/ThreadPool.h"
#include "Scratch.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <linux/futex.h>
#include <mutex>
#include <sys/syscall.h>
#include <system_error>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

namespace moe::rt {
namespace {

using Word = std::atomic<uint32_t>;
static_assert(sizeof(Word) == 4, "a futex is a plain 32-bit word");

void futexWait(Word &word, uint32_t expected) {
  syscall(SYS_futex, reinterpret_cast<uint32_t *>(&word), FUTEX_WAIT_PRIVATE, expected, nullptr, nullptr, 0);
}

void futexWake(Word &word) {
  syscall(SYS_futex, reinterpret_cast<uint32_t *>(&word), FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
}

inline void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  std::this_thread::yield();
#endif
}

/// Returns the value of `word` once it differs from `old`; spins for `spin`, then sleeps with `asleep` set.
uint32_t waitForChange(Word &word, uint32_t old, Word &asleep, std::chrono::microseconds spin) {
  uint32_t now = word.load(std::memory_order_acquire);
  if (now != old)
    return now;
  if (spin.count() > 0) {
    auto end = std::chrono::steady_clock::now() + spin;
    do {
      for (int i = 0; i < 32; ++i) {
        relax();
        if ((now = word.load(std::memory_order_acquire)) != old)
          return now;
      }
    } while (std::chrono::steady_clock::now() < end);
  }
  asleep.store(1);
  while ((now = word.load()) == old)
    futexWait(word, old);
  asleep.store(0, std::memory_order_relaxed);
  return now;
}

/// True on a thread that is inside a parallel loop.
thread_local bool insideLoop = false;

struct Loop {
  MoeLoopBody body = nullptr;
  void *context = nullptr;
  int64_t count = 0;
  size_t scratchBytes = 0;
  int64_t work = 0; // of one iteration; 0: unknown

  void runInline() const {
    Scratch scratch(scratchBytes);
    body(context, 0, count, scratch.data());
  }

  /// All iterations together, or the largest number.
  int64_t totalWork() const {
    int64_t total;
    return work == 0 || __builtin_mul_overflow(count, work, &total) ? INT64_MAX : total;
  }
};

/// Operations (as the compiler counts them, some 3 in a nanosecond) for which it pays to share a loop with a thread
/// that is awake, which costs about half a microsecond, and to wake one that sleeps: some five microseconds.
constexpr int64_t workPerThread = 3000, workPerSleeper = 30000;
/// The least work that is worth a call of the body.
constexpr int64_t workPerPiece = 1000;

/// Units of iterations that are left to take: two 32-bit numbers in one word, so that a piece is taken from either end
/// in one step.
class alignas(128) Range {
public:
  void set(uint32_t begin, uint32_t end) { word.store(pack(begin, end), std::memory_order_relaxed); }

  /// Takes a piece of at least `least` units, of those there are; false if nothing is left.
  bool take(bool fromEnd, uint32_t least, uint32_t &begin, uint32_t &end) {
    uint64_t old = word.load(std::memory_order_relaxed), now;
    do {
      begin = uint32_t(old);
      end = uint32_t(old >> 32);
      if (begin == end)
        return false;
      uint32_t piece = std::min(end - begin, std::max(least, (end - begin) / 4));
      if (fromEnd) {
        now = pack(begin, end - piece);
        begin = end - piece;
      } else {
        now = pack(begin + piece, end);
        end = begin + piece;
      }
    } while (!word.compare_exchange_weak(old, now, std::memory_order_relaxed));
    return true;
  }

private:
  static uint64_t pack(uint64_t begin, uint64_t end) { return end << 32 | begin; }
  std::atomic<uint64_t> word{0};
};

class Pool {
public:
  void run(const Loop &given) {
    int64_t total = given.totalWork();
    int threads = int(std::min<int64_t>({threadCount(), given.count, 1 + total / workPerThread}));
    // A second caller (another thread of a host program) does its own work instead of waiting for the first.
    if (threads <= 1 || insideLoop || busy.exchange(true, std::memory_order_acquire)) {
      bool outer = std::exchange(insideLoop, true);
      given.runInline();
      insideLoop = outer;
      return;
    }
    sharing = threads = std::min(threads, startWorkers(threads - 1) + 1);
    loop = given;
    unit = given.count / maxUnits + 1;
    int64_t units = (given.count + unit - 1) / unit;
    leastPiece = given.work == 0 ? 1 : uint32_t(std::clamp<int64_t>(workPerPiece / unit / given.work, 1, units));
    int64_t each = units / threads, rest = units % threads;
    for (int64_t i = 0, begin = 0; i < threads; ++i) {
      int64_t end = begin + each + (i < rest);
      rangeOf(int(i)).set(uint32_t(begin), uint32_t(end));
      begin = end;
    }

    gate.fetch_and(~closed, std::memory_order_release);
    for (int i = 1; i < threads; ++i) {
      Worker &worker = *workers[i - 1];
      worker.ticket.store(worker.ticket.load(std::memory_order_relaxed) + 1, std::memory_order_release);
    }
    std::atomic_thread_fence(std::memory_order_seq_cst);
    int awakened = int(std::min<int64_t>(threads, 1 + total / workPerSleeper));
    for (int i = 1; i < awakened; ++i)
      if (workers[i - 1]->asleep.load(std::memory_order_relaxed))
        futexWake(workers[i - 1]->ticket);

    insideLoop = true;
    work(0);
    insideLoop = false;
    uint32_t inside = gate.fetch_or(closed, std::memory_order_acquire) | closed;
    while (inside != closed)
      inside = waitForChange(gate, inside, callerAsleep, spin.load(std::memory_order_relaxed));
    busy.store(false, std::memory_order_release);
  }

  int threadCount() {
    int count = configured.load(std::memory_order_relaxed);
    if (count == 0) {
      setThreadCount(usableCores());
      count = configured.load(std::memory_order_relaxed);
    }
    return count;
  }

  void setThreadCount(int count) {
    count = std::clamp(count, 1, maxThreads);
    // With more threads than cores a spinning thread takes the core of the one it waits for.
    spin.store(std::chrono::microseconds(count <= usableCores() ? 50 : 0), std::memory_order_relaxed);
    configured.store(count, std::memory_order_relaxed);
  }

  /// Ends the workers, for the end of the process or of a shared library. Not from inside a loop.
  void stop() {
    if (insideLoop || busy.exchange(true, std::memory_order_acquire))
      return;
    stopping = true;
    for (auto &worker : workers) {
      worker->ticket.fetch_add(1);
      futexWake(worker->ticket);
    }
    for (auto &worker : workers)
      worker->thread.join();
    workers.clear();
    stopping = false;
    busy.store(false, std::memory_order_release);
  }

private:
  struct alignas(128) Worker {
    Word ticket{0}, asleep{0};
    Range range;
    std::thread thread;
  };

  /// Iterations are counted in units, of which there are never more than these.
  static constexpr int64_t maxUnits = int64_t(1) << 30;
  /// In `gate`, beside the number of workers inside: nobody may enter.
  static constexpr uint32_t closed = uint32_t(1) << 31;

  Range &rangeOf(int thread) { return thread == 0 ? callersRange : workers[thread - 1]->range; }

  /// Takes pieces until nothing is left: first the own ones, then the others', nearest first.
  void work(int thread) {
    Scratch scratch(loop.scratchBytes);
    for (int i = 0; i < sharing; ++i) {
      int owner = (thread + i) % sharing;
      for (uint32_t begin, end; rangeOf(owner).take(/*fromEnd=*/owner != thread, leastPiece, begin, end);)
        loop.body(loop.context, begin * unit, std::min(end * unit, loop.count), scratch.data());
    }
  }

  /// Starts workers until there are `wanted`; returns how many there are (fewer where the system refuses threads).
  int startWorkers(int wanted) {
    while (int(workers.size()) < wanted) {
      auto worker = std::make_unique<Worker>();
      Worker &mine = *worker;
      try {
        worker->thread = std::thread([this, &mine, index = int(workers.size()) + 1] { serve(mine, index); });
      } catch (const std::system_error &) {
        break;
      }
      workers.push_back(std::move(worker));
    }
    return int(workers.size());
  }

  void serve(Worker &mine, int index) {
    insideLoop = true; // loops inside a body run inline
    for (uint32_t seen = 0;;) {
      seen = waitForChange(mine.ticket, seen, mine.asleep, spin.load(std::memory_order_relaxed));
      if (stopping)
        return;
      uint32_t inside = gate.load(std::memory_order_relaxed);
      while (!(inside & closed) && !gate.compare_exchange_weak(inside, inside + 1, std::memory_order_acquire))
        ;
      if (inside & closed)
        continue;
      if (index < sharing) // not one that comes late, called for a loop that more threads shared
        work(index);
      if (gate.fetch_sub(1) == (closed | 1) && callerAsleep.load())
        futexWake(gate);
    }
  }

  // What the loop is: written while the gate is closed and nobody is inside.
  Loop loop;
  int sharing = 0; // threads that have a range
  int64_t unit = 1;
  uint32_t leastPiece = 1;
  Range callersRange;

  alignas(128) Word gate{closed};
  Word callerAsleep{0};
  alignas(128) std::atomic<bool> busy{false};
  std::atomic<bool> stopping{false};
  std::atomic<int> configured{0};
  std::atomic<std::chrono::microseconds> spin{std::chrono::microseconds(0)};
  std::vector<std::unique_ptr<Worker>> workers; // changed by the holder of `busy` only
};

/// Never destroyed: a thread of the host program may still be in a loop while the process ends.
Pool &pool() {
  static Pool *instance = new Pool;
  return *instance;
}

/// A library that is unloaded must not leave threads in its code.
__attribute__((destructor)) void stopPool() { pool().stop(); }

} // namespace

int threadCount() { return pool().threadCount(); }

void setThreadCount(int count) { pool().setThreadCount(count); }

} // namespace moe::rt

int64_t moe_rt_worker_count() { return moe::rt::threadCount(); }

void moe_rt_parallel_for(MoeLoopBody body, void *context, int64_t count, int64_t scratchBytes, int64_t work) {
  if (count <= 0)
    return;
  moe::rt::Loop loop{body, context, count, size_t(std::max<int64_t>(scratchBytes, 0)), std::max<int64_t>(work, 0)};
  if (count == 1) {
    // No loop: what the body calls may use the threads.
    loop.runInline();
    return;
  }
  moe::rt::pool().run(loop);
}
