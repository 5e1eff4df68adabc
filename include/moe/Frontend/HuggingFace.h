//===- HuggingFace.h - import of Hugging Face checkpoints -----------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MOE_FRONTEND_HUGGINGFACE_H
#define MOE_FRONTEND_HUGGINGFACE_H

#include "moe/Frontend/Model.h"

namespace mlir {
class MLIRContext;
} // namespace mlir

namespace moe {

/// Values of `model_type` that can be imported, sorted.
std::vector<llvm::StringRef> knownHuggingFaceFamilies();

/// Imports the model in `folder`: config.json, the weights (model.safetensors, or an index and shards), and
/// generation_config.json and tokenizer.json where they exist. With `options.randomSeed` no weights are read.
///
/// The module has the entry `main`, or one entry `moe.<l>` per layer of `options.layers`; then only the parameters of
/// these blocks need to exist. Parameters are `ml_program.global`s named as in the checkpoint and are not read yet; the
/// files stay mapped as long as the result's parameter source lives.
///
/// An error is one line that begins with the path of the file it is about.
llvm::Expected<ImportedModel> importHuggingFace(mlir::MLIRContext &context, llvm::StringRef folder,
                                                const ImportOptions &options);

} // namespace moe

#endif // MOE_FRONTEND_HUGGINGFACE_H
