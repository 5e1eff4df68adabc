//===- Fiber.cpp - stacks and the switch between them ---------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The one piece of assembly of the project. A kernel of 128 threads with one matrix instruction switches 128 times per
// instruction; swapcontext makes two system calls at each (for the signal mask) and costs a hundred times the few moves
// below, and nothing in C++ can change the stack.
//
//===----------------------------------------------------------------------===//
#include "Fiber.h"

#include "moe/Runtime/Abi.h"

#include <cstring>
#include <sys/mman.h>

#if defined(__x86_64__)
asm(R"(
  .text
  .globl moe_simt_switch
  .hidden moe_simt_switch
  .type moe_simt_switch, @function
moe_simt_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  retq
  .size moe_simt_switch, .-moe_simt_switch
)");
/// Six registers, the return address, and one word so that the stack is aligned as behind a call.
static constexpr size_t frameWords = 8, returnWord = 6;
#elif defined(__aarch64__)
asm(R"(
  .text
  .globl moe_simt_switch
  .hidden moe_simt_switch
  .type moe_simt_switch, %function
moe_simt_switch:
  sub sp, sp, #160
  stp x19, x20, [sp]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x2, sp
  str x2, [x0]
  mov sp, x1
  ldp x19, x20, [sp]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
  .size moe_simt_switch, .-moe_simt_switch
)");
static constexpr size_t frameWords = 20, returnWord = 11;
#else
#error "the kernel emulator needs its switch of stacks for this processor"
#endif

using namespace moe::rt::simt;

Stacks::~Stacks() {
  if (memory)
    munmap(memory, (capacity + 1) * stride);
}

void Stacks::reserve(size_t count) {
  if (count <= capacity)
    return;
  if (memory)
    munmap(memory, (capacity + 1) * stride);
  // Only what is touched takes memory.
  void *mapped =
      mmap(nullptr, (count + 1) * stride, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED)
    moe_rt_fail("out of memory: stacks of emulated threads");
  memory = static_cast<char *>(mapped);
  capacity = count;
}

void *Stacks::prepare(size_t index, void (*entry)()) {
  memcpy(bottom(index), &canary, sizeof canary);
  auto *frame = reinterpret_cast<uintptr_t *>(bottom(index) + stride) - frameWords;
  memset(frame, 0, frameWords * sizeof *frame);
  frame[returnWord] = reinterpret_cast<uintptr_t>(entry);
  return frame;
}

bool Stacks::overflowed(size_t index) const { return memcmp(bottom(index), &canary, sizeof canary) != 0; }
