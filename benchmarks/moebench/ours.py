"""Our side: compiles the layer to a shared library and calls its C interface (include/moe/Runtime/MoeModel.h)."""
import ctypes
import os
import pathlib
import subprocess
import time

import numpy as np

from .formats import FORMATS

_TYPES = {"f32": 0, "bf16": 3}  # MoeType


class _Tensor(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("type", ctypes.c_int), ("rank", ctypes.c_int),
                ("shape", ctypes.POINTER(ctypes.c_int64)), ("data", ctypes.c_void_p)]


def supports(compiler, format_name):
    """Whether this moe-compile can make the format; else the reason."""
    if FORMATS[format_name].storage == format_name:
        return True, ""
    text = subprocess.run([compiler, "--help"], capture_output=True, text=True, check=True).stdout
    after = text.split("--quantize", 1)[-1][:300] if "--quantize" in text else ""
    formats = after.split("}", 1)[0]
    if format_name not in formats or "not supported yet" in after.split("--", 1)[0]:
        return False, f"moe-compile has no --quantize={format_name} yet"
    return True, ""


def compile_layer(compiler, checkpoint, format_name, flags=()):
    """Compiles layer 0 of the checkpoint; returns the library and the seconds it took. An up-to-date one is kept."""
    library = pathlib.Path(checkpoint) / f"ours-{format_name}.so"
    made_by = library.with_suffix(".made-by")
    stamp = f"{pathlib.Path(compiler).stat().st_mtime_ns} {' '.join(flags)}"
    if library.exists() and made_by.exists() and made_by.read_text().split("\n")[0] == stamp:
        return library, float(made_by.read_text().split("\n")[1])
    command = [str(compiler), str(checkpoint), "--layers=0", "--emit=shared", "-o", str(library), *flags]
    if format_name != FORMATS[format_name].storage:
        command.append(f"--quantize={format_name}")
    start = time.monotonic()
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        raise RuntimeError((result.stderr.strip().splitlines() or [f"moe-compile ended with {result.returncode}"])[0])
    seconds = time.monotonic() - start
    made_by.write_text(f"{stamp}\n{seconds}")
    return library, seconds


def _load(path):
    """Brings the weights into memory: they are a mapping of the file, while other peers have copies of theirs.

    Those copies are made side by side and may drive the file out of memory, so this is to be done when all are there."""
    populate = 22  # MADV_POPULATE_READ
    libc = ctypes.CDLL(None, use_errno=True)
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    with open("/proc/self/maps") as maps:
        for line in maps:
            if line.rstrip().endswith(os.path.realpath(path)):
                begin, end = (int(number, 16) for number in line.split()[0].split("-"))
                if libc.madvise(begin, end - begin, populate) != 0:
                    raise OSError(ctypes.get_errno(), f"cannot read {path}")


class Ours:
    """A peer as those of peers/: the compiled layer, called in this process."""

    label, packaged = "moe-mlir", True

    def __init__(self, spec):
        library = ctypes.CDLL(spec["library"])
        library.moe_open.restype = ctypes.c_void_p
        library.moe_open.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.POINTER(ctypes.c_char_p)]
        library.moe_run.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.POINTER(_Tensor), ctypes.c_size_t,
                                    ctypes.POINTER(ctypes.POINTER(_Tensor)), ctypes.POINTER(ctypes.c_size_t),
                                    ctypes.POINTER(ctypes.c_char_p)]
        library.moe_free_results.argtypes = [ctypes.POINTER(_Tensor), ctypes.c_size_t]
        self._library, self._error = library, ctypes.c_char_p()
        isa = spec.get("isa")
        self._model = library.moe_open(None, isa.encode() if isa else None, ctypes.byref(self._error))
        self._check(self._model)
        self._file = spec["library"]
        self._results, self._count = ctypes.POINTER(_Tensor)(), ctypes.c_size_t()
        self._type = _TYPES[FORMATS[spec["format"]].storage]
        self.version = "this repository"

    def _check(self, ok):
        if not ok:
            raise RuntimeError((self._error.value or b"the library gave no message").decode())

    def set_threads(self, count):
        """Comes after all peers have loaded and before anything is timed."""
        _load(self._file)
        self._check(self._library.moe_set_threads(count, ctypes.byref(self._error)) == 0)

    def prepare(self, inputs):
        """`inputs`: arrays [T, H], f32 or bfloat16 as uint16."""
        self._inputs = inputs
        self._calls = []
        for x in inputs:
            shape = (ctypes.c_int64 * 2)(*x.shape)
            self._calls.append((_Tensor(None, self._type, 2, shape, x.ctypes.data), shape))

    def call(self, index):
        self._free()
        status = self._library.moe_run(self._model, None, ctypes.byref(self._calls[index][0]), 1,
                                       ctypes.byref(self._results), ctypes.byref(self._count), ctypes.byref(self._error))
        if status != 0:
            self._check(False)

    def output(self):
        """The layer's result of the last call, f32 [T, H]."""
        result = self._results[0]
        shape = tuple(result.shape[d] for d in range(result.rank))
        values = ctypes.cast(result.data, ctypes.POINTER(ctypes.c_float))
        return np.ctypeslib.as_array(values, shape=shape).copy()

    def _free(self):
        if self._results:
            self._library.moe_free_results(self._results, self._count)
            self._results, self._count = ctypes.POINTER(_Tensor)(), ctypes.c_size_t()
