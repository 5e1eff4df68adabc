// Matrix products by oneDNN's matmul primitive (version 3).
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "common.h"
#include "gemm.h"

#include <algorithm>
#include <map>
#include <omp.h>
#include <oneapi/dnnl/dnnl.hpp>
#include <stdexcept>
#include <string>

using dnnl::matmul;
using dnnl::memory;

namespace bench {
namespace {

dnnl::engine &engine() {
  static dnnl::engine instance(dnnl::engine::kind::cpu, 0);
  return instance;
}
dnnl::stream &stream() {
  static dnnl::stream instance(engine());
  return instance;
}

class OneDnn : public Matrices {
public:
  OneDnn(Format format, int64_t count, int64_t columns, int64_t depth)
      : type(format == Format::F32    ? memory::data_type::f32
             : format == Format::BF16 ? memory::data_type::bf16
                                      : memory::data_type::s8),
        result(format == Format::Int8 ? memory::data_type::s32 : memory::data_type::f32), columns(columns),
        depth(depth) {
    // One layout for all row counts: the one that the library picks for a full tile of rows.
    packed = descriptor(32, memory::desc({depth, columns}, type, memory::format_tag::any)).weights_desc();
    stride = (packed.get_size() + 4095) / 4096 * 4096;
    pages = Pages(stride * count);
  }

  void pack(int64_t index, const void *source) override {
    memory from({{depth, columns}, type, memory::format_tag::ba}, engine(), const_cast<void *>(source));
    memory to(packed, engine(), pages.begin + index * stride);
    dnnl::reorder(from, to).execute(stream(), from, to);
    stream().wait();
  }

  int64_t padded(int64_t rows) const override {
    return rows <= 16 ? rows : rows <= 64 ? (rows + 3) / 4 * 4 : (rows + 15) / 16 * 16;
  }

  void prepare(int64_t rows) override {
    if (products.count(rows))
      return;
    matmul::primitive_desc chosen = descriptor(rows, packed);
    products.emplace(rows, Product{matmul(chosen), memory(chosen.src_desc(), engine(), nullptr),
                                   memory(chosen.weights_desc(), engine(), nullptr),
                                   memory(chosen.dst_desc(), engine(), nullptr)});
  }

  void multiply(int64_t index, int64_t rows, const void *x, void *result) override {
    rows = padded(rows);
    prepare(rows);
    Product &product = products.at(rows);
    product.x.set_data_handle(const_cast<void *>(x));
    product.weights.set_data_handle(pages.begin + index * stride);
    product.result.set_data_handle(result);
    product.primitive.execute(
        stream(), {{DNNL_ARG_SRC, product.x}, {DNNL_ARG_WEIGHTS, product.weights}, {DNNL_ARG_DST, product.result}});
  }

private:
  struct Product {
    matmul primitive;
    memory x, weights, result;
  };

  matmul::primitive_desc descriptor(int64_t rows, const memory::desc &weights) {
    return matmul::primitive_desc(engine(), memory::desc({rows, depth}, type, memory::format_tag::ab), weights,
                                  memory::desc({rows, columns}, result, memory::format_tag::ab));
  }

  memory::data_type type, result;
  int64_t columns, depth;
  memory::desc packed;
  size_t stride = 0;
  Pages pages;
  std::map<int64_t, Product> products;
};

} // namespace

std::unique_ptr<Matrices> makeMatrices(Format format, int64_t count, int64_t columns, int64_t depth) {
  return std::make_unique<OneDnn>(format, count, columns, depth);
}

void setGemmThreads(int count) { omp_set_num_threads(count); }

const char *gemmVersion() {
  static const std::string text = [] {
    const dnnl_version_t *v = dnnl_version();
    return "oneDNN " + std::to_string(v->major) + "." + std::to_string(v->minor) + "." + std::to_string(v->patch);
  }();
  return text.c_str();
}

} // namespace bench
