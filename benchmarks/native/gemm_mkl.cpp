// Matrix products by MKL: packed for many rows; for a few rows a plain copy (in huge pages), which is faster there.
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "common.h"
#include "gemm.h"

#include <mkl.h>
#include <omp.h>
#include <stdexcept>

namespace bench {
namespace {

constexpr int64_t unpackedRows = 4;

class Mkl : public Matrices {
public:
  Mkl(Format format, int64_t count, int64_t columns, int64_t depth) : format(format), columns(columns), depth(depth) {
    if (format == Format::Int8)
      throw std::runtime_error("MKL is used for f32 and bf16 only");
    size_t size = format == Format::F32 ? cblas_sgemm_pack_get_size(CblasBMatrix, 64, columns, depth)
                                        : cblas_gemm_bf16bf16f32_pack_get_size(CblasBMatrix, 64, columns, depth);
    stride = (size + 4095) / 4096 * 4096;
    pages = Pages(stride * count);
    plainStride = columns * depth * elementSize(format);
    plain = Pages(plainStride * count);
  }

  void pack(int64_t index, const void *source) override {
    std::memcpy(plain.begin + index * plainStride, source, plainStride);
    char *to = pages.begin + index * stride;
    if (format == Format::F32)
      cblas_sgemm_pack(CblasRowMajor, CblasBMatrix, CblasTrans, 64, columns, depth, 1.0f,
                       static_cast<const float *>(source), depth, reinterpret_cast<float *>(to));
    else
      cblas_gemm_bf16bf16f32_pack(CblasRowMajor, CblasBMatrix, CblasTrans, 64, columns, depth,
                                  static_cast<const MKL_BF16 *>(source), depth, reinterpret_cast<MKL_BF16 *>(to));
  }

  int64_t padded(int64_t rows) const override { return rows; }
  void prepare(int64_t) override {}

  void multiply(int64_t index, int64_t rows, const void *x, void *result) override {
    auto *c = static_cast<float *>(result);
    const char *b = pages.begin + index * stride, *as = plain.begin + index * plainStride;
    bool few = rows <= unpackedRows;
    if (format == Format::F32) {
      auto *a = static_cast<const float *>(x);
      if (few && rows == 1)
        cblas_sgemv(CblasRowMajor, CblasNoTrans, columns, depth, 1.0f, reinterpret_cast<const float *>(as), depth, a, 1,
                    0.0f, c, 1);
      else if (few)
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, rows, columns, depth, 1.0f, a, depth,
                    reinterpret_cast<const float *>(as), depth, 0.0f, c, columns);
      else
        cblas_sgemm_compute(CblasRowMajor, CblasNoTrans, CblasPacked, rows, columns, depth, a, depth,
                            reinterpret_cast<const float *>(b), columns, 0.0f, c, columns);
      return;
    }
    auto *a = static_cast<const MKL_BF16 *>(x);
    if (few)
      cblas_gemm_bf16bf16f32(CblasRowMajor, CblasNoTrans, CblasTrans, rows, columns, depth, 1.0f, a, depth,
                             reinterpret_cast<const MKL_BF16 *>(as), depth, 0.0f, c, columns);
    else
      cblas_gemm_bf16bf16f32_compute(CblasRowMajor, CblasNoTrans, CblasPacked, rows, columns, depth, 1.0f, a, depth,
                                     reinterpret_cast<const MKL_BF16 *>(b), columns, 0.0f, c, columns);
  }

private:
  Format format;
  int64_t columns, depth;
  size_t stride = 0, plainStride = 0;
  Pages pages, plain;
};

} // namespace

std::unique_ptr<Matrices> makeMatrices(Format format, int64_t count, int64_t columns, int64_t depth) {
  return std::make_unique<Mkl>(format, count, columns, depth);
}

void setGemmThreads(int count) {
  omp_set_num_threads(count);
  mkl_set_dynamic(0);
  mkl_set_num_threads(count);
}

const char *gemmVersion() {
  static char text[200];
  mkl_get_version_string(text, sizeof(text));
  return text;
}

} // namespace bench
