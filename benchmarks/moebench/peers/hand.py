"""The hand-written layer of native/hand.cpp on a library's matrix product."""
import ctypes

import numpy as np

from ..layers import LAYERS, Weights
from ..tensors import as_f32


class Hand:
    packaged = False

    def __init__(self, spec):
        tool = spec["tools"][f"hand-{spec['options']['gemm']}"]
        for library in tool.get("preload", ()):
            ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)
        self._library = library = ctypes.CDLL(tool["library"])
        library.hand_create.restype = ctypes.c_void_p
        library.hand_create.argtypes = [ctypes.c_int64] * 4 + [ctypes.c_int] * 2 + [ctypes.c_void_p] * 3
        library.hand_plan.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
        library.hand_run.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p]
        library.hand_error.restype = library.hand_version.restype = ctypes.c_char_p
        self.label, self.version = spec["name"], library.hand_version().decode()
        layer = LAYERS[spec["layer"]]
        weights = Weights(spec["checkpoint"])
        self._layer = library.hand_create(
            layer.hidden, layer.width, layer.experts, layer.k, int(layer.renormalised),
            ("f32", "bf16", "int8").index(spec["format"]),
            *(array.ctypes.data for array in (weights.router, weights.gate_up, weights.down)))
        if not self._layer:
            raise RuntimeError(library.hand_error().decode())

    def set_threads(self, count):
        self._library.hand_set_threads(count)

    def prepare(self, inputs):
        self._inputs, self._tokens = inputs, len(inputs[0])
        self._out = np.empty_like(inputs[0])
        for x in inputs:
            self._check(self._library.hand_plan(self._layer, x.ctypes.data, self._tokens))

    def _check(self, ok):
        if not ok:
            raise RuntimeError(self._library.hand_error().decode())

    def call(self, index):
        self._check(self._library.hand_run(self._layer, self._inputs[index].ctypes.data, self._tokens,
                                           self._out.ctypes.data))

    def output(self):
        return as_f32(self._out)
