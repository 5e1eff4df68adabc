//===- FakeProgram.cpp - the fake model as an executable -----------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Tests change the model through the environment: FAKE_MANIFEST is a file to use as the manifest, FAKE_TOKENIZER=none
// leaves the tokenizer out.
//
//===----------------------------------------------------------------------===//

#include "FakeModel.h"
#include "moe/Runtime/App.h"

#include <cstdlib>
#include <fstream>
#include <iterator>

int main(int argc, char **argv) {
  moe::rt::ModelImage image = moe::rt::linkedModel();
  std::string tokenizer = fake::tokenizer(), manifest;
  if (!getenv("FAKE_TOKENIZER"))
    image.tokenizer = tokenizer;
  if (const char *path = getenv("FAKE_MANIFEST")) {
    std::ifstream file(path);
    manifest.assign(std::istreambuf_iterator<char>(file), {});
    image.manifest = manifest;
  }
  return moe::rt::runApp(image, argc, argv);
}
