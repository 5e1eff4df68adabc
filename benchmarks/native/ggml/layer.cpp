// The MoE layer as llama.cpp builds it, on ggml's CPU backend: weights in the buffer that the backend likes best for
// them. Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE. SPDX-License-Identifier:
// Apache-2.0 WITH LLVM-exception
#include "../common.h"

#include <cstdio>
#include <ggml-alloc.h>
#include <ggml-backend.h>
#include <ggml-cpu.h>
#include <ggml.h>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

void require(bool ok, const char *what) {
  if (!ok)
    throw std::runtime_error(what);
}

ggml_context *makeContext(size_t bytes) { return ggml_init({bytes, nullptr, /*no_alloc=*/true}); }

class Layer {
public:
  Layer(int64_t hidden, int64_t width, int64_t experts, int64_t k, bool renormalise, ggml_type type, bool bf16Source,
        const std::string &cache, const void *routerData, const void *gateUpData, const void *downData)
      : hidden(hidden), width(width), experts(experts), k(k), renormalise(renormalise), bf16Source(bf16Source),
        backend(ggml_backend_cpu_init()) {
    require(backend, "ggml has no CPU backend");
    require(hidden % ggml_blck_size(type) == 0 && width % ggml_blck_size(type) == 0,
            "the type's blocks do not divide the layer's sizes");
    router = weight(GGML_TYPE_F32, hidden, experts, 1, "", routerData);
    gateUp = weight(type, hidden, 2 * width, experts, cache + ".gate_up", gateUpData);
    down = weight(type, width, hidden, experts, cache + ".down", downData);
  }

  void prepare(int64_t tokens) {
    release();
    context = makeContext(ggml_tensor_overhead() * 64 + ggml_graph_overhead());
    x = ggml_new_tensor_2d(context, GGML_TYPE_F32, hidden, tokens);
    ggml_set_input(x);
    graph = ggml_new_graph(context);
    ggml_tensor *scores = ggml_soft_max(context, ggml_mul_mat(context, router, x));
    ggml_tensor *chosen = ggml_argsort_top_k(context, scores, static_cast<int>(k));
    ggml_tensor *weights = ggml_get_rows(context, ggml_reshape_3d(context, scores, 1, experts, tokens), chosen);
    if (renormalise) {
      weights = ggml_reshape_2d(context, weights, k, tokens);
      weights = ggml_div(context, weights, ggml_sum_rows(context, weights));
      weights = ggml_reshape_3d(context, weights, 1, k, tokens);
    }
    ggml_build_forward_expand(graph, weights);
    ggml_tensor *both = ggml_mul_mat_id(context, gateUp, ggml_reshape_3d(context, x, hidden, 1, tokens), chosen);
    auto half = [&](int64_t from) {
      return ggml_view_3d(context, both, width, k, tokens, both->nb[1], both->nb[2], from * both->nb[0]);
    };
    ggml_tensor *inner = ggml_swiglu_split(context, half(0), half(width));
    ggml_tensor *parts = ggml_mul(context, ggml_mul_mat_id(context, down, inner, chosen), weights);
    ggml_build_forward_expand(graph, parts);
    result = nullptr;
    for (int64_t i = 0; i < k; ++i) {
      ggml_tensor *part = ggml_view_2d(context, parts, hidden, tokens, parts->nb[2], i * parts->nb[1]);
      result = result ? ggml_add(context, result, part) : part;
    }
    if (k == 1)
      result = ggml_cont(context, result);
    ggml_set_output(result);
    ggml_build_forward_expand(graph, result);
    allocator = ggml_gallocr_new(ggml_backend_get_default_buffer_type(backend));
    require(ggml_gallocr_alloc_graph(allocator, graph), "out of memory");
  }

  void run(const void *input) {
    ggml_backend_tensor_set(x, input, 0, ggml_nbytes(x));
    require(ggml_backend_graph_compute(backend, graph) == GGML_STATUS_SUCCESS, "the graph failed");
  }

  void output(void *to) const { ggml_backend_tensor_get(result, to, 0, ggml_nbytes(result)); }

  void setThreads(int count) { ggml_backend_cpu_set_n_threads(backend, count); }

  const char *buffers() const { return ggml_backend_buffer_name(gateUp->buffer); }

private:
  void release() {
    if (allocator)
      ggml_gallocr_free(allocator);
    if (context)
      ggml_free(context);
    allocator = nullptr;
    context = nullptr;
  }

  /// Whether the backend can multiply with a matrix of this type and size in such a buffer.
  bool serves(ggml_backend_dev_t device, ggml_backend_buffer_type_t buffers, ggml_type type, int64_t depth,
              int64_t columns, int64_t count) const {
    ggml_context *c = makeContext(ggml_tensor_overhead() * 8);
    ggml_tensor *matrix = ggml_new_tensor_3d(c, type, depth, columns, count);
    ggml_tensor *rows = ggml_new_tensor_3d(c, GGML_TYPE_F32, depth, k, 512);
    ggml_tensor *ids = ggml_new_tensor_2d(c, GGML_TYPE_I32, k, 512);
    ggml_tensor *product = count == 1 ? ggml_mul_mat(c, matrix, ggml_reshape_2d(c, rows, depth, k * 512))
                                      : ggml_mul_mat_id(c, matrix, rows, ids);
    matrix->buffer = ggml_backend_buft_alloc_buffer(buffers, 0);
    bool ok = ggml_backend_dev_supports_op(device, product);
    ggml_backend_buffer_free(matrix->buffer);
    ggml_free(c);
    return ok;
  }

  ggml_tensor *weight(ggml_type type, int64_t depth, int64_t columns, int64_t count, const std::string &cache,
                      const void *source) {
    ggml_backend_dev_t device = ggml_backend_get_device(backend);
    ggml_backend_buffer_type_t chosen = ggml_backend_get_default_buffer_type(backend);
    auto extra = reinterpret_cast<ggml_backend_dev_get_extra_bufts_t>(
        ggml_backend_reg_get_proc_address(ggml_backend_dev_backend_reg(device), "ggml_backend_dev_get_extra_bufts"));
    if (extra)
      for (ggml_backend_buffer_type_t *each = extra(device); each && *each; ++each)
        if (serves(device, *each, type, depth, columns, count)) {
          chosen = *each;
          break;
        }
    ggml_context *c = makeContext(ggml_tensor_overhead() * 2);
    ggml_tensor *tensor = ggml_new_tensor_3d(c, type, depth, columns, count);
    require(ggml_backend_alloc_ctx_tensors_from_buft(c, chosen), "out of memory");
    ggml_backend_buffer_set_usage(tensor->buffer, GGML_BACKEND_BUFFER_USAGE_WEIGHTS);

    // The router comes as f32 always.
    if (type == GGML_TYPE_F32 || type == (bf16Source ? GGML_TYPE_BF16 : GGML_TYPE_F32)) {
      ggml_backend_tensor_set(tensor, source, 0, ggml_nbytes(tensor));
      return tensor;
    }
    bench::Pages converted(ggml_nbytes(tensor));
    if (!load(cache, converted)) {
      ggml_quantize_init(type);
#pragma omp parallel
      {
        std::vector<float> values(bf16Source ? depth * columns : 0);
#pragma omp for
        for (int64_t e = 0; e < count; ++e) {
          const float *from = static_cast<const float *>(source) + e * depth * columns;
          if (bf16Source) {
            auto *bits = static_cast<const uint16_t *>(source) + e * depth * columns;
            for (size_t i = 0; i < values.size(); ++i)
              values[i] = bench::fromBf16(bits[i]);
            from = values.data();
          }
          ggml_quantize_chunk(type, from, converted.begin + e * tensor->nb[2], 0, columns, depth, nullptr);
        }
      }
      save(cache, converted);
    }
    ggml_backend_tensor_set(tensor, converted.begin, 0, ggml_nbytes(tensor));
    return tensor;
  }

  // Some formats take minutes to quantise to: the result is kept.

  static bool load(const std::string &path, bench::Pages &to) {
    FILE *file = std::fopen(path.c_str(), "rb");
    if (!file)
      return false;
    bool whole = std::fread(to.begin, 1, to.size, file) == to.size && std::fgetc(file) == EOF;
    std::fclose(file);
    return whole;
  }

  static void save(const std::string &path, const bench::Pages &from) {
    std::string unfinished = path + ".new";
    FILE *file = std::fopen(unfinished.c_str(), "wb");
    if (!file)
      return;
    bool whole = std::fwrite(from.begin, 1, from.size, file) == from.size;
    if ((std::fclose(file) == 0) && whole)
      std::rename(unfinished.c_str(), path.c_str());
  }

  int64_t hidden, width, experts, k;
  bool renormalise, bf16Source;
  ggml_backend_t backend;
  ggml_tensor *router, *gateUp, *down;
  ggml_context *context = nullptr;
  ggml_gallocr_t allocator = nullptr;
  ggml_cgraph *graph = nullptr;
  ggml_tensor *x = nullptr, *result = nullptr;
};

ggml_type typeNamed(const std::string &name) {
  for (int i = 0; i < GGML_TYPE_COUNT; ++i)
    if (const char *known = ggml_type_name(static_cast<ggml_type>(i)); known && name == known)
      return static_cast<ggml_type>(i);
  throw std::runtime_error("ggml has no type " + name);
}

} // namespace

extern "C" {

/// Null on failure, see ggml_layer_error. `bf16Source`: the matrices are bfloat16, else f32. `cache`: how the
/// names of files begin that keep quantised matrices. Never freed.
void *ggml_layer_create(int64_t hidden, int64_t width, int64_t experts, int64_t k, int renormalise, const char *type,
                        int bf16Source, const char *cache, const void *router, const void *gateUp, const void *down) {
  Layer *layer = nullptr;
  bench::guarded([&] {
    layer = new Layer(hidden, width, experts, k, renormalise, typeNamed(type), bf16Source, cache, router, gateUp, down);
  });
  return layer;
}

int ggml_layer_prepare(void *layer, int64_t tokens) {
  return bench::guarded([&] { static_cast<Layer *>(layer)->prepare(tokens); });
}

int ggml_layer_run(void *layer, const void *x) {
  return bench::guarded([&] { static_cast<Layer *>(layer)->run(x); });
}

void ggml_layer_output(void *layer, void *to) { static_cast<Layer *>(layer)->output(to); }

void ggml_layer_set_threads(void *layer, int count) { static_cast<Layer *>(layer)->setThreads(count); }

const char *ggml_layer_buffers(void *layer) { return static_cast<Layer *>(layer)->buffers(); }

const char *ggml_layer_error() { return bench::message.c_str(); }
}
