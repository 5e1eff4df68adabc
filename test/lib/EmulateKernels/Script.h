//===- Script.h - what a test does with its kernels -----------------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Tests of kernels say in comments what is to be run. A line after `EMULATE:` is one of
//
//   buffer NAME TYPE COUNT [zero | iota | random SEED | fill VALUE]   (not initialised otherwise)
//   launch KERNEL grid X[,Y,Z] block X[,Y,Z] [shared BYTES] [args ARG...]
//   close NAME NAME TOLERANCE       all elements differ by at most that, and are numbers
//   differ NAME NAME TOLERANCE      the opposite
//   same NAME NAME                  bit by bit
//   print NAME [COUNT]
//   counters                        of the last launch, as JSON: a line of totals, then one for each operation
//
// TYPE is f32, bf16, f16, i32, i8; ARG is the name of a buffer, or i32:N, i64:N, f32:X, or a tensor map of a buffer:
// map:NAME:SIZES:STRIDES:BOX:SWIZZLE, all innermost first and with x between numbers, strides (of all but the
// innermost dimension; - if there is only one) and swizzle in bytes.
//
// Bugs to be planted into kernels stand in comments too: a line that ends in a comment of names, `... // NAME NAME`, is
// left out where one of them is planted, and a line that begins with `//NAME ` is put in.
//
//===----------------------------------------------------------------------===//
#ifndef MOE_TEST_LIB_EMULATEKERNELS_SCRIPT_H
#define MOE_TEST_LIB_EMULATEKERNELS_SCRIPT_H

#include "moe/Runtime/Gpu.h"

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

#include <vector>

namespace moe::test {

/// The lines of `text` behind "EMULATE:".
std::vector<llvm::StringRef> findScript(llvm::StringRef text);

/// `text` with the bug `name`; fails if no line mentions it.
llvm::Expected<std::string> plantBug(llvm::StringRef text, llvm::StringRef name);

struct ScriptOptions {
  /// Prints the time of each launch, and its rate of operations, on standard error.
  bool showTimes = false;
};

/// Does what the lines say; output goes to standard output. `lookup` finds a kernel by its name, or fails.
llvm::Error runScript(llvm::ArrayRef<llvm::StringRef> lines,
                      llvm::function_ref<llvm::Expected<const MoeGpuKernel *>(llvm::StringRef)> lookup,
                      const ScriptOptions &options);

} // namespace moe::test

#endif // MOE_TEST_LIB_EMULATEKERNELS_SCRIPT_H
