//===- DeviceCode.cpp - what moe-compile writes for GPUs ------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Compilation.h"
#include "Errors.h"
#include "OutputFile.h"

#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/raw_ostream.h"

using namespace moe;

llvm::Error Compilation::chooseArchitectures() {
  for (const std::string &name : options.gpuArch) {
    std::optional<cuda::Architecture> architecture = cuda::parseArchitecture(name);
    if (!architecture)
      return usageError("--gpu-arch: expected architectures from sm_80 on (sm_80, sm_90a, sm_120a, ...) but got '" +
                        name + "'");
    architectures.push_back(std::move(*architecture));
  }
  return llvm::Error::success();
}

llvm::Error Compilation::writeKernels() {
  std::optional<cuda::Kernels> kernels;
  auto translate = [&]() -> llvm::Error {
    auto made = cuda::Kernels::create(*model.module);
    if (!made)
      return internalError(llvm::toString(made.takeError()));
    kernels.emplace(std::move(*made));
    return llvm::Error::success();
  };
  if (llvm::Error error = timed("translate", translate))
    return error;

  std::vector<cuda::FatbinPart> parts;
  std::string ptx, log;
  for (const cuda::Architecture &architecture : architectures) {
    auto generate = [&]() -> llvm::Error {
      auto text = kernels->emitPTX(architecture);
      if (!text)
        return internalError(llvm::toString(text.takeError()));
      ptx = std::move(*text);
      return llvm::Error::success();
    };
    if (llvm::Error error = timed("ptx " + architecture.name, generate))
      return error;
    // The PTX of the first one is for GPUs that come later.
    if (options.emit == EmitKind::Fatbin && parts.empty())
      parts.push_back({architecture, /*isPTX=*/true, {ptx.begin(), ptx.end()}});
    if (options.emit == EmitKind::PTX)
      break;
    auto assemble = [&]() -> llvm::Error {
      auto code = cuda::assemble(ptx, architecture, log);
      if (!code)
        return inputError(llvm::toString(code.takeError()));
      parts.push_back({architecture, /*isPTX=*/false, std::move(*code)});
      return llvm::Error::success();
    };
    if (llvm::Error error = timed("cubin " + architecture.name, assemble))
      return error;
  }
  if (options.report && !log.empty())
    llvm::errs() << log << "\n";

  llvm::SmallVector<char, 0> bytes;
  if (options.emit == EmitKind::PTX) {
    bytes.assign(ptx.begin(), ptx.end());
  } else if (options.emit == EmitKind::Cubin) {
    bytes = std::move(parts.front().code);
  } else {
    auto code = cuda::makeFatbin(parts);
    if (!code)
      return inputError(llvm::toString(code.takeError()));
    bytes = std::move(*code);
  }
  codeBytes = bytes.size();
  return writeText([&](llvm::raw_ostream &stream) { stream.write(bytes.data(), bytes.size()); });
}
