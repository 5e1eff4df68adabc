//===- Link.cpp - object file to executable, with LLD inside --------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The user's machine may have no compiler and no linker: the linker is a library of this program, start files and
// archives lie in its installation, and libc is the one this very process runs with. For another architecture libc is
// in the installation too.
//
//===----------------------------------------------------------------------===//
#include "moe/Target/CPU.h"

#include "lld/Common/Driver.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"

#include <link.h>

LLD_HAS_DRIVER(elf)

using namespace moe;
using namespace moe::cpu;

namespace {

/// Path of the loaded library whose file is called `name`; empty if there is none.
std::string findLoadedLibrary(llvm::StringRef name) {
  std::pair<llvm::StringRef, std::string> search(name, "");
  dl_iterate_phdr(
      [](dl_phdr_info *info, size_t, void *data) {
        auto &[name, found] = *static_cast<std::pair<llvm::StringRef, std::string> *>(data);
        if (llvm::sys::path::filename(info->dlpi_name) != name)
          return 0;
        found = info->dlpi_name;
        return 1;
      },
      &search);
  return search.second;
}

/// Words that depend on the architecture.
struct LinkWords {
  const char *emulation, *loader, *loaderPath;
};

LinkWords wordsFor(Architecture architecture) {
  if (architecture == Architecture::AArch64)
    return {"aarch64linux", "ld-linux-aarch64.so.1", "/lib/ld-linux-aarch64.so.1"};
  return {"elf_x86_64", "ld-linux-x86-64.so.2", "/lib64/ld-linux-x86-64.so.2"};
}

/// A command line for the linker, in the making.
class LinkLine {
public:
  LinkLine(Architecture architecture) : architecture(architecture), installation(getInstallation(architecture)) {}

  void add(std::initializer_list<llvm::StringRef> words) {
    for (llvm::StringRef word : words)
      arguments.push_back(word.str());
  }

  void addFiles(llvm::ArrayRef<std::string> files) { arguments.insert(arguments.end(), files.begin(), files.end()); }

  /// A file of the installation.
  void addInstalled(llvm::StringRef name) {
    llvm::SmallString<128> path(installation);
    llvm::sys::path::append(path, name);
    if (missing.empty() && !llvm::sys::fs::exists(path))
      missing = path.str();
    arguments.push_back(path.str().str());
  }

  /// A list of the names that stay visible, of the installation.
  void addScript(llvm::StringRef name) {
    arguments.push_back("--version-script");
    addInstalled(name);
  }

  /// A system library: as this process has loaded it, or of the installation for another architecture.
  void addSystem(llvm::StringRef name) {
    if (architecture != hostArchitecture())
      return addInstalled(name);
    std::string path = findLoadedLibrary(name);
    if (missing.empty() && path.empty())
      missing = name;
    arguments.push_back(path);
  }

  /// Runs the linker. The error is its first message.
  llvm::Error run() {
    if (!missing.empty())
      return llvm::createStringError("'" + missing + "' is missing from the installation of moe-compile");
    std::vector<const char *> words;
    for (const std::string &argument : arguments)
      words.push_back(argument.c_str());
    std::string messages;
    llvm::raw_string_ostream stream(messages);
    lld::Result result = lld::lldMain(words, stream, stream, {{lld::Gnu, &lld::elf::link}});
    if (result.retCode == 0)
      return llvm::Error::success();
    llvm::StringRef first = llvm::StringRef(messages).trim().split('\n').first;
    first.consume_front("ld.lld: ");
    first.consume_front("error: ");
    return llvm::createStringError("linking failed: " + (first.empty() ? "no message" : first.str()));
  }

  LinkWords words() const { return wordsFor(architecture); }

private:
  Architecture architecture;
  std::string installation;
  std::vector<std::string> arguments;
  std::string missing;
};

/// What both kinds of output have in common, before and after their own part.
void addStart(LinkLine &line, llvm::StringRef output) {
  line.add({"ld.lld",
            "-m",
            line.words().emulation,
            "-o",
            output,
            "--gc-sections",
            "--strip-all",
            "--eh-frame-hdr",
            "--hash-style=gnu",
            "--build-id=none",
            "--icf=all",
            "-z",
            "relro",
            "-z",
            "now",
            "-z",
            "noexecstack",
            "--as-needed",
            "--no-undefined",
            "--threads=2"});
}

void addEnd(LinkLine &line) {
  for (llvm::StringRef name : {"libMoeTokenizer.a", "libMoeTensorFile.a", "libMoeCostModel.a", "libMoeRuntime.a",
                               "libpcre2-8.a", "libutf8proc.a", "libstdc++.a", "libgcc.a", "libgcc_eh.a"})
    line.addInstalled(name);
  line.addSystem("libm.so.6");
  line.addSystem("libc.so.6");
  line.addInstalled("libc_nonshared.a");
  line.addInstalled("crtendS.o");
  line.addInstalled("crtn.o");
}

} // namespace

llvm::Error moe::cpu::linkExecutable(llvm::ArrayRef<std::string> objects, Architecture architecture,
                                     llvm::StringRef output, llvm::ArrayRef<llvm::StringRef> archives) {
  LinkLine line(architecture);
  addStart(line, output);
  line.add({"-pie", "--dynamic-linker", line.words().loaderPath});
  for (llvm::StringRef name : {"Scrt1.o", "crti.o", "crtbeginS.o"})
    line.addInstalled(name);
  line.addFiles(objects);
  line.addInstalled("libMoeAppEntry.a");
  line.addInstalled("libMoeApp.a");
  for (llvm::StringRef archive : archives)
    line.addInstalled(archive);
  // Has the stack guard there.
  if (architecture == Architecture::AArch64)
    line.addSystem(line.words().loader);
  addEnd(line);
  return line.run();
}

llvm::Error moe::cpu::linkShared(llvm::ArrayRef<std::string> objects, Architecture architecture, llvm::StringRef output,
                                 llvm::StringRef name, llvm::ArrayRef<llvm::StringRef> archives) {
  LinkLine line(architecture);
  addStart(line, output);
  // Only the C interface is visible, and it binds to this library's own: several models can live in one process.
  line.addScript("MoeModel.exports");
  line.add({"-shared", "-Bsymbolic", "-soname", name, "--exclude-libs",
            "libMoeApp.a:libMoeTokenizer.a:libMoeTensorFile.a:libMoeCostModel.a:libMoeRuntime.a:libpcre2-8.a:"
            "libutf8proc.a:libstdc++.a:"
            "libgcc.a:libgcc_eh.a:" +
                llvm::join(archives, ":")});
  for (llvm::StringRef name : {"crti.o", "crtbeginS.o"})
    line.addInstalled(name);
  line.addFiles(objects);
  line.add({"--whole-archive"});
  line.addInstalled("libMoeCApi.a");
  line.add({"--no-whole-archive"});
  line.addInstalled("libMoeApp.a");
  for (llvm::StringRef archive : archives)
    line.addInstalled(archive);
  // Thread-local storage of a shared library asks the loader itself.
  line.addSystem(line.words().loader);
  addEnd(line);
  return line.run();
}

llvm::Error moe::cpu::linkRelocatable(llvm::ArrayRef<std::string> objects, Architecture architecture,
                                      llvm::StringRef output) {
  LinkLine line(architecture);
  line.add({"ld.lld", "-m", line.words().emulation, "-o", output, "--relocatable"});
  line.addFiles(objects);
  return line.run();
}

std::string moe::cpu::getInstallation(Architecture architecture) {
  static int here; // an address inside this program, for systems without /proc
  llvm::SmallString<128> path(llvm::sys::fs::getMainExecutable("moe-compile", &here));
  llvm::sys::path::remove_filename(path);
  llvm::sys::path::append(path, "..", "lib", "moe");
  llvm::sys::path::remove_dots(path, /*remove_dot_dot=*/true);
  if (architecture != hostArchitecture())
    llvm::sys::path::append(path, architectureName(architecture));
  return path.str().str();
}

bool moe::cpu::canLink(Architecture architecture) {
  return architecture == hostArchitecture() || llvm::sys::fs::exists(getInstallation(architecture));
}
