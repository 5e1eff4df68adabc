//===- LinkedModel.cpp - the model linked into this program --------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "moe/Runtime/Abi.h"
#include "moe/Runtime/Model.h"

#include <climits>
#include <cstdlib>
#include <link.h>
#include <unistd.h>

namespace moe::rt {
namespace {

struct Search {
  uintptr_t address;
  std::string file; // empty: the main program
};

/// Looks for the loaded object that contains the address.
int visit(dl_phdr_info *object, size_t, void *data) {
  Search &search = *static_cast<Search *>(data);
  for (int i = 0; i < object->dlpi_phnum; ++i) {
    const auto &segment = object->dlpi_phdr[i];
    uintptr_t begin = object->dlpi_addr + segment.p_vaddr;
    if (segment.p_type != PT_LOAD || search.address < begin || search.address - begin >= segment.p_memsz)
      continue;
    search.file = object->dlpi_name ? object->dlpi_name : "";
    return 1;
  }
  return 0;
}

} // namespace

ModelImage linkedModel() {
  ModelImage image;
  image.manifest = {moe_model_manifest, size_t(moe_model_manifest_size)};
  image.tokenizer = {moe_model_tokenizer, size_t(moe_model_tokenizer_size)};
  image.variants = moe_model_variants;
  if (moe_model_device.alloc)
    image.device = &moe_model_device;

  Search search{reinterpret_cast<uintptr_t>(moe_model_manifest), {}};
  dl_iterate_phdr(visit, &search);
  if (!search.file.empty()) {
    image.file = image.path = search.file;
    return image;
  }
  // The main program: the link of the kernel holds even if the file was renamed or deleted since.
  image.file = image.path = "/proc/self/exe";
  char path[PATH_MAX];
  ssize_t length = readlink("/proc/self/exe", path, sizeof path);
  if (length > 0)
    image.path.assign(path, size_t(length));
  return image;
}

} // namespace moe::rt
