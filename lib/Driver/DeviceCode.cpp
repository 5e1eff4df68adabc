//===- DeviceCode.cpp - what moe-compile writes for GPUs ------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Compilation.h"
#include "Errors.h"
#include "OutputFile.h"

#include "moe/Conversion/TilesToGPU.h"

#include "mlir/IR/BuiltinOps.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/raw_ostream.h"

#include <thread>

using namespace moe;

llvm::Error Compilation::chooseArchitectures() {
  for (const std::string &name : options.gpuArch) {
    std::optional<cuda::DeviceArchitecture> architecture = cuda::parseArchitecture(name);
    if (!architecture)
      return usageError("--gpu-arch: expected architectures from sm_80 on (sm_80, sm_90a, sm_120a, ...) but got '" +
                        name + "'");
    architectures.push_back(std::move(*architecture));
  }
  return llvm::Error::success();
}

llvm::Error Compilation::takeKernels() {
  return timed("kernels", [&]() -> llvm::Error {
    auto made = cuda::Kernels::create(*model.module);
    if (!made)
      return internalError(llvm::toString(made.takeError()));
    kernels.emplace(std::move(*made));
    model.module->lookupSymbol(gpuKernelModule)->erase();
    return llvm::Error::success();
  });
}

/// PTX for `architecture`, and its cubin unless only PTX is wanted.
static llvm::Error generate(const cuda::Kernels &kernels, const cuda::DeviceArchitecture &architecture, bool assembles,
                            std::string &ptx, llvm::SmallVector<char, 0> &cubin, std::string &log) {
  auto text = kernels.emitPTX(architecture);
  if (!text)
    return internalError(llvm::toString(text.takeError()));
  ptx = std::move(*text);
  if (!assembles)
    return llvm::Error::success();
  auto code = cuda::assemble(ptx, architecture, log);
  if (!code)
    return inputError(llvm::toString(code.takeError()));
  cubin = std::move(*code);
  return llvm::Error::success();
}

llvm::Error Compilation::emitKernels(EmitKind kind, llvm::SmallVectorImpl<char> &bytes) {
  struct Part {
    std::string ptx, log;
    llvm::SmallVector<char, 0> cubin;
    llvm::Error error = llvm::Error::success();
  };
  std::vector<Part> parts(architectures.size());
  auto generateAll = [&]() -> llvm::Error {
    std::vector<std::thread> threads;
    for (auto [part, architecture] : llvm::zip_equal(parts, architectures))
      threads.emplace_back([&, &part = part, &architecture = architecture] {
        llvm::ErrorAsOutParameter checked(&part.error);
        part.error = generate(*kernels, architecture, kind != EmitKind::PTX, part.ptx, part.cubin, part.log);
      });
    for (std::thread &thread : threads)
      thread.join();
    llvm::Error error = llvm::Error::success();
    for (Part &part : parts) {
      if (!error)
        error = std::move(part.error);
      else
        llvm::consumeError(std::move(part.error));
    }
    return error;
  };
  if (llvm::Error error = timed(kind == EmitKind::PTX ? "ptx" : "assemble", generateAll))
    return error;

  if (kind == EmitKind::PTX) {
    bytes.assign(parts.front().ptx.begin(), parts.front().ptx.end());
    return llvm::Error::success();
  }
  if (options.report)
    for (const Part &part : parts)
      llvm::errs() << part.log << "\n";
  if (kind == EmitKind::Cubin) {
    bytes.assign(parts.front().cubin.begin(), parts.front().cubin.end());
    return llvm::Error::success();
  }
  // The PTX of the first one is for GPUs that come later.
  std::vector<cuda::FatbinPart> images;
  llvm::StringRef ptx = parts.front().ptx;
  images.push_back({architectures.front(), /*isPTX=*/true, {ptx.begin(), ptx.end()}});
  for (auto [part, architecture] : llvm::zip_equal(parts, architectures))
    images.push_back({architecture, /*isPTX=*/false, std::move(part.cubin)});
  auto code = cuda::makeFatbin(images);
  if (!code)
    return inputError(llvm::toString(code.takeError()));
  bytes.assign(code->begin(), code->end());
  return llvm::Error::success();
}

llvm::Error Compilation::emitKernelObject(llvm::SmallVectorImpl<char> &code) {
  llvm::SmallVector<char, 0> image;
  if (!options.runOnHost) {
    // Without a toolkit the driver of the machine that runs the program assembles the PTX.
    auto ptxas = cuda::findTool("ptxas");
    if (!ptxas && architectures.size() > 1)
      return inputError("--gpu-arch with several architectures: " + llvm::toString(ptxas.takeError()));
    bool assembles = bool(ptxas);
    llvm::consumeError(ptxas.takeError());
    if (llvm::Error error = emitKernels(assembles ? EmitKind::Fatbin : EmitKind::PTX, image))
      return error;
  }
  return timed("code", [&]() -> llvm::Error {
    auto object = options.runOnHost ? kernels->emitHostObject(/*instrument=*/true) : kernels->emitImageObject(image);
    if (!object)
      return internalError(llvm::toString(object.takeError()));
    code.assign(object->begin(), object->end());
    return llvm::Error::success();
  });
}

llvm::Error Compilation::writeKernels() {
  if (llvm::Error error = takeKernels())
    return error;
  if (options.emit == EmitKind::LLVM)
    return writeText([&](llvm::raw_ostream &stream) { kernels->print(stream); });
  llvm::SmallVector<char, 0> bytes;
  if (llvm::Error error = emitKernels(options.emit, bytes))
    return error;
  codeBytes = bytes.size();
  return writeText([&](llvm::raw_ostream &stream) { stream.write(bytes.data(), bytes.size()); });
}
