/*===- MoeModel.h - C interface of a compiled model ------------------*- C -*-===*\
|* Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE. *|
|* SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception                         *|
|*                                                                                *|
|* A shared library made by moe-compile --emit=shared has these functions; each   *|
|* such library holds one model. A function that fails returns null or a status   *|
|* other than MOE_OK, and gives a message of one line in *error (unless error is  *|
|* null), to be released by moe_free_string.                                      *|
\*===--------------------------------------------------------------------------===*/
#ifndef MOE_RUNTIME_MOEMODEL_H
#define MOE_RUNTIME_MOEMODEL_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define MOE_API __attribute__((visibility("default")))
#else
#define MOE_API
#endif

/** A model with its weights mapped. May be used from several threads at a time. */
typedef struct MoeModel MoeModel;

typedef enum MoeStatus {
  MOE_OK = 0,
  MOE_BAD_INPUT = 1, /* something that was given is wrong */
  MOE_INTERNAL = 3   /* the library is inconsistent, or out of memory */
} MoeStatus;

typedef enum MoeType { MOE_F32, MOE_F64, MOE_F16, MOE_BF16, MOE_I32, MOE_I64, MOE_I8, MOE_U8, MOE_BOOL } MoeType;

/** A dense row-major tensor. */
typedef struct MoeTensor {
  const char *name; /* as in the entry function; null fits an only input */
  MoeType type;
  int rank;
  const int64_t *shape; /* `rank` sizes */
  const void *data;     /* need not be aligned */
} MoeTensor;

/** Opens the model of this library. `weights_file`: null for the weights in the library itself (or LIBRARY.weights
    beside it). `isa`: null for the best instruction-set level of this machine. */
MOE_API MoeModel *moe_open(const char *weights_file, const char *isa, char **error);

/** Closes a model; null is allowed. Results stay valid. */
MOE_API void moe_close(MoeModel *model);

/** The manifest: JSON text that lives as long as the library (keys: docs/Executable.md). */
MOE_API const char *moe_manifest(void);

/** Names of the entry functions; null past the last. They live as long as the model. */
MOE_API const char *moe_entry_name(const MoeModel *model, size_t index);

/** Calls an entry function (null: main, or the only one) on inputs found by name and converted to the types it wants.
    A whole model starts with an empty cache and gives logits of all positions. On success *results is a list of
    *result_count tensors, floats as MOE_F32 and all else as MOE_I32, to be released by moe_free_results. */
MOE_API MoeStatus moe_run(const MoeModel *model, const char *entry, const MoeTensor *inputs, size_t input_count,
                          MoeTensor **results, size_t *result_count, char **error);

MOE_API void moe_free_results(MoeTensor *results, size_t result_count);
MOE_API void moe_free_string(char *text);

/** Threads that all models of this library use together, from 1 to 1024; default: all cores this process may use. Not
    while a call is running. */
MOE_API MoeStatus moe_set_threads(int count, char **error);

#ifdef __cplusplus
}
#endif

#endif /* MOE_RUNTIME_MOEMODEL_H */
