#include "moe/Driver/Options.h"
#include "moe/Driver/Tools.h"
#include <cstdio>
int moe::moeCompileMain(int argc, char **argv) {
  CommandLine c = parseCommandLine(argc, argv, {"import", "llvm", "binary"}, {"avx512", "avx2"});
  if (c.status) {
    fputs(c.text.c_str(), *c.status ? stderr : stdout);
    return *c.status;
  }
  return 0;
}
