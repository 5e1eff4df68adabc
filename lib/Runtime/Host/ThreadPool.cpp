//===- ThreadPool.cpp - worker threads of the runtime ---------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Each worker has a mailbox of its own: the caller writes the job into the mailboxes of as many workers as it needs and
// advances their tickets; a worker whose ticket moved runs its range and counts `pending` down. Nobody else is woken.
// Waiting spins briefly (the gap between two loops of a layer is shorter than a wake-up) and then sleeps on a futex.
//
// A sleeper first announces itself and then lets the kernel compare the word; a waker first changes the word and then
// looks for the announcement. Both pairs are sequentially consistent, so one of the two sees the other.
//
//===----------------------------------------------------------------------===//

#include "moe/Runtime/ThreadPool.h"

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

class Pool {
public:
  void run(void (*body)(void *, int64_t, int64_t), void *context, int64_t count) {
    int threads = int(std::min<int64_t>(threadCount(), count));
    // A second caller (another thread of a host program) does its own work instead of waiting for the first.
    if (threads <= 1 || insideLoop || busy.exchange(true, std::memory_order_acquire)) {
      bool outer = std::exchange(insideLoop, true);
      body(context, 0, count);
      insideLoop = outer;
      return;
    }
    threads = std::min(threads, startWorkers(threads - 1) + 1);
    int64_t each = count / threads, rest = count % threads;
    auto start = [&](int64_t thread) { return thread * each + std::min(thread, rest); };

    pending.store(uint32_t(threads - 1), std::memory_order_relaxed);
    for (int i = 1; i < threads; ++i) {
      Worker &worker = *workers[i - 1];
      worker.body = body;
      worker.context = context;
      worker.begin = start(i);
      worker.end = start(i + 1);
      worker.ticket.fetch_add(1);
      if (worker.asleep.load())
        futexWake(worker.ticket);
    }
    insideLoop = true;
    body(context, 0, start(1));
    insideLoop = false;
    for (uint32_t left; (left = pending.load(std::memory_order_acquire)) != 0;)
      waitForChange(pending, left, callerAsleep, spin.load(std::memory_order_relaxed));
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
    for (auto &worker : workers) {
      worker->body = nullptr;
      worker->ticket.fetch_add(1);
      futexWake(worker->ticket);
    }
    for (auto &worker : workers)
      worker->thread.join();
    workers.clear();
    busy.store(false, std::memory_order_release);
  }

private:
  struct alignas(128) Worker {
    Word ticket{0}, asleep{0};
    void (*body)(void *, int64_t, int64_t) = nullptr;
    void *context = nullptr;
    int64_t begin = 0, end = 0;
    std::thread thread;
  };

  /// Starts workers until there are `wanted`; returns how many there are (fewer where the system refuses threads).
  int startWorkers(int wanted) {
    while (int(workers.size()) < wanted) {
      auto worker = std::make_unique<Worker>();
      Worker &mine = *worker;
      try {
        worker->thread = std::thread([this, &mine] { serve(mine); });
      } catch (const std::system_error &) {
        break;
      }
      workers.push_back(std::move(worker));
    }
    return int(workers.size());
  }

  void serve(Worker &mine) {
    insideLoop = true; // loops inside a body run inline
    for (uint32_t seen = 0;;) {
      seen = waitForChange(mine.ticket, seen, mine.asleep, spin.load(std::memory_order_relaxed));
      if (!mine.body)
        return;
      mine.body(mine.context, mine.begin, mine.end);
      if (pending.fetch_sub(1) == 1 && callerAsleep.load())
        futexWake(pending);
    }
  }

  alignas(128) Word pending{0};
  Word callerAsleep{0};
  alignas(128) std::atomic<bool> busy{false};
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

void moe_rt_parallel_for(void (*body)(void *context, int64_t begin, int64_t end), void *context, int64_t count) {
  if (count <= 0)
    return;
  if (count == 1) {
    // No loop: what the body calls may use the threads.
    body(context, 0, 1);
    return;
  }
  moe::rt::pool().run(body, context, count);
}
