// The matrix products of the hand-written layer: one class, implemented once per library.
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MOE_BENCHMARKS_NATIVE_GEMM_H
#define MOE_BENCHMARKS_NATIVE_GEMM_H

#include <cstdint>
#include <memory>

namespace bench {

enum class Format { F32, BF16, Int8 };

inline int64_t elementSize(Format format) { return format == Format::F32 ? 4 : format == Format::BF16 ? 2 : 1; }

/// `count` matrices [columns, depth] (row-major, so each row makes one column of the result) of one format, packed as
/// the library likes it.
class Matrices {
public:
  virtual ~Matrices() = default;

  /// Packs matrix `index`; `source` is not needed afterwards.
  virtual void pack(int64_t index, const void *source) = 0;

  /// Rows that a product of `rows` rows is to be rounded up to, so that few kernels are needed.
  virtual int64_t padded(int64_t rows) const = 0;

  /// Makes what a product of `rows` rows (a padded number) needs.
  virtual void prepare(int64_t rows) = 0;

  /// result [rows, columns] = x [rows, depth] times the transposed matrix; f32, or int32 for Int8. Buffers have room
  /// for padded(rows) rows.
  virtual void multiply(int64_t index, int64_t rows, const void *x, void *result) = 0;
};

/// The implementation of the library that this is linked with.
std::unique_ptr<Matrices> makeMatrices(Format format, int64_t count, int64_t columns, int64_t depth);

void setGemmThreads(int count);

const char *gemmVersion();

} // namespace bench

#endif // MOE_BENCHMARKS_NATIVE_GEMM_H
