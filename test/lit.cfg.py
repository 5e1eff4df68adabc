# Configuration of the lit suites. build/test/lit.site.cfg.py sets the paths and then loads this file.
#
# Environment: MOE_CHECK_ROUNDTRIP=0 stops every moe-opt of the suite from verifying that what it reads survives printing
# and parsing, as text and as bytecode. That is on by default: it costs little and finds syntax that does not round trip.
# MOE_LONG_TESTS=1 runs what takes minutes, too (REQUIRES: long).
import ctypes
import os
import platform
import re
import shutil
import sys

import lit.formats

config.name = "moe-mlir"
config.suffixes = [".mlir", ".test"]
config.excludes = ["Inputs", "CMakeLists.txt", "Unit"]
config.test_format = lit.formats.ShTest(execute_external=False)
config.test_source_root = os.path.dirname(__file__)
config.test_exec_root = config.moe_test_exec_root

# A test that hangs is ended, where lit can do that (Debian: python3-psutil).
if lit_config.maxIndividualTestTime == 0 and lit_config.maxIndividualTestTimeIsSupported[0]:
    lit_config.maxIndividualTestTime = 300

# ---- environment
config.environment["PATH"] = os.pathsep.join([config.moe_tools_dir, config.llvm_tools_dir, os.environ["PATH"]])
config.environment["FILECHECK_OPTS"] = "-enable-var-scope --allow-unused-prefixes=false"
# No calibration of the user who runs the tests (bench --calibrate).
config.environment["XDG_CACHE_HOME"] = os.path.join(config.test_exec_root, "no-cache")
for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS", "MOE_THREADS", "MOE_ISA", "CUDA_HOME"):
    if name in os.environ:
        config.environment[name] = os.environ[name]


# ---- substitutions
def tool(name, folder, flags=""):
    """Replaces the bare word `name` in RUN lines by the program of that name in `folder`."""
    path = os.path.join(folder, name)
    config.substitutions.append((r"(?<![\w%%./-])%s(?![\w./-])" % re.escape(name), (path + " " + flags).rstrip()))


roundtrip = os.environ.get("MOE_CHECK_ROUNDTRIP", "1") != "0"
tool("moe-opt", config.moe_tools_dir, "--verify-roundtrip" if roundtrip else "")
tool("moe-compile", config.moe_tools_dir)
tool("moe-lsp-server", config.moe_tools_dir)
tool("moe-emulate-kernels", config.moe_tools_dir)
for name in ("FileCheck", "not", "mlir-runner", "mlir-translate", "split-file", "count"):
    tool(name, config.llvm_tools_dir)

config.substitutions += [
    ("%python", '"%s"' % sys.executable),
    ("%moe-check-lib", os.path.join(config.moe_lib_dir, "libmoe_check_runtime.so")),
    ("%moe-runtime-lib", os.path.join(config.moe_lib_dir, "libmoe_runtime.so")),
    ("%mlir-lib-dir", config.llvm_lib_dir),
    ("%inputs", os.path.join(config.test_source_root, "Inputs")),
    ("%examples", os.path.join(config.moe_source_dir, "examples")),
    ("%moe-tools-dir", config.moe_tools_dir),
    # Programs with check ops: moe-opt %lower-reference %s | %run, or %lower-fast.
    ("%lower-reference", "--check-to-runtime --moe-to-tile=reference=true --moe-prepare-pipeline"),
    ("%lower-fast", "--check-to-runtime --moe-to-tile --moe-prepare-pipeline"),
    ("%run", "mlir-runner -e main --entry-point-result=void --shared-libs=%moe-check-lib,%moe-runtime-lib"),
]

# Programs for 64-bit Arm run under qemu-aarch64, with the libc that moe-compile links them with as their system's.
emulator, arm_libraries = shutil.which("qemu-aarch64"), os.path.join(config.moe_lib_dir, "moe", "aarch64")
if not os.path.exists(arm_libraries):
    lit_config.note("no runs of programs for aarch64: moe-compile is built without the runtime for it (see scripts/setup)")
elif not emulator:
    lit_config.note("no runs of programs for aarch64: there is no qemu-aarch64 (Debian: qemu-user)")
else:
    arm_root = os.path.join(config.test_exec_root, "aarch64-root")
    os.makedirs(arm_root, exist_ok=True)
    if not os.path.islink(os.path.join(arm_root, "lib")):
        os.symlink(arm_libraries, os.path.join(arm_root, "lib"))
    config.substitutions.append(("%arm-emulator", "%s -L %s" % (emulator, arm_root)))
    config.available_features.add("qemu-aarch64")
if os.path.exists(arm_libraries):
    config.available_features.add("aarch64-runtime")

# Substitutions that use others are replaced first.
config.recursiveExpansionLimit = 3


# ---- features
def cpu_flags():
    try:
        with open("/proc/cpuinfo") as cpuinfo:
            for line in cpuinfo:
                if line.startswith("flags"):
                    return set(line.split(":", 1)[1].split())
    except OSError:
        pass
    return set()


def loads(library):
    try:
        ctypes.CDLL(library)
        return True
    except OSError:
        return False


def find_cuda_tool(name, *more):
    """A program of the CUDA toolkit, where moe-compile looks for it, or in the folders `more`."""
    folders = [os.path.join(os.environ["CUDA_HOME"], "bin")] if "CUDA_HOME" in os.environ else []
    folders += ["/usr/local/cuda/bin", *more]
    return shutil.which(name) or shutil.which(name, path=os.pathsep.join(folders))


# scripts/setup fetches nvdisasm where there is none.
nvdisasm = find_cuda_tool("nvdisasm", os.path.join(os.path.dirname(config.moe_tools_dir), "nvdisasm"))
config.substitutions.append(("%nvdisasm", nvdisasm or "nvdisasm"))


avx2 = {"avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"}  # x86-64-v3
avx512 = avx2 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}  # x86-64-v4
for feature, present in {
    "x86-64": platform.machine() in ("x86_64", "AMD64"),
    "avx2": avx2 <= cpu_flags(),
    "avx512": avx512 <= cpu_flags(),
    "avx512vnni": avx512 | {"avx512_vnni"} <= cpu_flags(),
    "cuda": os.path.exists("/dev/nvidiactl") and loads("libcuda.so.1"),
    "no-cuda-driver": not loads("libcuda.so.1"),
    "ptxas": find_cuda_tool("ptxas") is not None,
    "nvdisasm": nvdisasm is not None,
    "asserts": config.llvm_assertions.upper() in ("ON", "TRUE", "1"),
    "sanitizer": bool(config.moe_sanitizer),
    "long": os.environ.get("MOE_LONG_TESTS", "0") not in ("", "0"),
}.items():
    if present:
        config.available_features.add(feature)
if "ptxas" not in config.available_features:
    lit_config.note("no ptxas in PATH, CUDA_HOME/bin or /usr/local/cuda/bin: the assembler's checks of kernels are skipped")
elif not nvdisasm:
    lit_config.note("no nvdisasm (see scripts/setup): the checks of kernels' machine code are skipped")
if "long" not in config.available_features:
    lit_config.note("MOE_LONG_TESTS is not 1: the tests that take minutes are skipped")
if config.moe_sanitizer:
    lit_config.note("a build with sanitizers: the tests of the README and of benchmarks/compare, which are about a plain one, are skipped")
