//===- Toolkit.cpp - programs of the CUDA toolkit -------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "moe/Target/CUDA.h"

#include "llvm/ADT/SmallString.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/FileUtilities.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/Process.h"
#include "llvm/Support/Program.h"
#include "llvm/Support/raw_ostream.h"

using namespace moe::cuda;
namespace fs = llvm::sys::fs;
namespace path = llvm::sys::path;

llvm::Expected<std::string> moe::cuda::findTool(llvm::StringRef program) {
  std::vector<std::string> folders;
  if (auto home = llvm::sys::Process::GetEnv("CUDA_HOME"))
    folders.push_back(*home + "/bin");
  folders.push_back("/usr/local/cuda/bin");
  if (auto found = llvm::sys::findProgramByName(program))
    return *found;
  for (const std::string &folder : folders)
    if (auto found = llvm::sys::findProgramByName(program, {folder}))
      return *found;
  return llvm::createStringError("'" + program.str() +
                                 "' of a CUDA toolkit was not found in PATH, CUDA_HOME/bin or /usr/local/cuda/bin "
                                 "(--emit=ptx needs none)");
}

namespace {
/// A file that is removed with the object.
class TemporaryFile {
public:
  static llvm::Expected<TemporaryFile> create(llvm::StringRef ending, llvm::ArrayRef<char> bytes = {}) {
    TemporaryFile file;
    int descriptor = -1;
    if (std::error_code code = fs::createTemporaryFile("moe", ending, descriptor, file.name))
      return llvm::createStringError("cannot make a temporary file: " + code.message());
    file.remover = std::make_unique<llvm::FileRemover>(file.name);
    llvm::raw_fd_ostream stream(descriptor, /*shouldClose=*/true);
    stream.write(bytes.data(), bytes.size());
    stream.flush();
    if (std::error_code code = stream.error()) {
      stream.clear_error();
      return llvm::createStringError("cannot write '" + file.name.str().str() + "': " + code.message());
    }
    return file;
  }

  llvm::StringRef path() const { return name; }
  llvm::Expected<std::unique_ptr<llvm::MemoryBuffer>> read() const {
    auto buffer = llvm::MemoryBuffer::getFile(name, /*IsText=*/false, /*RequiresNullTerminator=*/false);
    if (!buffer)
      return llvm::createStringError("cannot read '" + name.str().str() + "': " + buffer.getError().message());
    return std::move(*buffer);
  }

private:
  llvm::SmallString<128> name;
  std::unique_ptr<llvm::FileRemover> remover;
};
} // namespace

/// Runs `program`; what it prints is the error, or goes to `log`.
static llvm::Error runTool(llvm::StringRef program, llvm::ArrayRef<llvm::StringRef> arguments, std::string *log) {
  auto found = findTool(program);
  if (!found)
    return found.takeError();
  auto output = TemporaryFile::create("log");
  if (!output)
    return output.takeError();
  llvm::SmallVector<llvm::StringRef> words{*found};
  words.append(arguments.begin(), arguments.end());
  std::optional<llvm::StringRef> redirects[] = {llvm::StringRef(""), output->path(), output->path()};
  std::string message;
  int status = llvm::sys::ExecuteAndWait(*found, words, std::nullopt, redirects, 0, 0, &message);
  auto text = output->read();
  if (!text)
    return text.takeError();
  llvm::StringRef printed = (*text)->getBuffer().trim();
  if (status != 0)
    return llvm::createStringError("'" + *found +
                                   "' failed: " + (message.empty() ? printed.str() : message + " " + printed.str()));
  if (log)
    *log += printed.str();
  return llvm::Error::success();
}

static llvm::SmallVector<char, 0> bytesOf(const llvm::MemoryBuffer &buffer) {
  return {buffer.getBufferStart(), buffer.getBufferEnd()};
}

llvm::Expected<llvm::SmallVector<char, 0>>
moe::cuda::assemble(llvm::StringRef ptx, const DeviceArchitecture &architecture, std::string &log) {
  auto input = TemporaryFile::create("ptx", llvm::ArrayRef(ptx.data(), ptx.size()));
  if (!input)
    return input.takeError();
  auto output = TemporaryFile::create("cubin");
  if (!output)
    return output.takeError();
  if (llvm::Error error =
          runTool("ptxas", {"-v", "-O3", "-arch", architecture.name, input->path(), "-o", output->path()}, &log))
    return error;
  auto code = output->read();
  if (!code)
    return code.takeError();
  return bytesOf(**code);
}

llvm::Expected<llvm::SmallVector<char, 0>> moe::cuda::makeFatbin(llvm::ArrayRef<FatbinPart> parts) {
  std::vector<TemporaryFile> files;
  std::vector<std::string> arguments;
  auto output = TemporaryFile::create("fatbin");
  if (!output)
    return output.takeError();
  arguments.push_back("--create=" + output->path().str());
  arguments.push_back("-64");
  for (const FatbinPart &part : parts) {
    auto file = TemporaryFile::create(part.isPTX ? "ptx" : "cubin", part.code);
    if (!file)
      return file.takeError();
    arguments.push_back(std::string("--image3=kind=") + (part.isPTX ? "ptx" : "elf") +
                        ",sm=" + part.architecture.name.substr(3) + ",file=" + file->path().str());
    files.push_back(std::move(*file));
  }
  std::vector<llvm::StringRef> words(arguments.begin(), arguments.end());
  if (llvm::Error error = runTool("fatbinary", words, nullptr))
    return error;
  auto code = output->read();
  if (!code)
    return code.takeError();
  return bytesOf(**code);
}
