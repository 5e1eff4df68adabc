"""The layer as llama.cpp builds it (native/ggml/layer.cpp), on the ggml of llama-cpp-python's source package."""
import ctypes

import numpy as np

from ..formats import FORMATS
from ..layers import LAYERS, Weights
from ..tensors import as_f32


class Ggml:
    packaged = True

    def __init__(self, spec):
        tool = spec["tools"]["ggml"]
        self._library = library = ctypes.CDLL(tool["library"])
        library.ggml_layer_create.restype = ctypes.c_void_p
        library.ggml_layer_create.argtypes = [ctypes.c_int64] * 4 + [ctypes.c_int, ctypes.c_char_p, ctypes.c_int,
                                                                       ctypes.c_char_p] + [ctypes.c_void_p] * 3
        library.ggml_layer_prepare.argtypes = [ctypes.c_void_p, ctypes.c_int64]
        library.ggml_layer_run.argtypes = library.ggml_layer_output.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
        library.ggml_layer_set_threads.argtypes = [ctypes.c_void_p, ctypes.c_int]
        library.ggml_layer_buffers.argtypes = [ctypes.c_void_p]
        library.ggml_layer_error.restype = library.ggml_layer_buffers.restype = ctypes.c_char_p
        self._shape = LAYERS[spec["layer"]]
        weights = Weights(spec["checkpoint"])
        router = np.ascontiguousarray(as_f32(np.asarray(weights.router)))  # f32, as in llama.cpp's model files
        kind = spec["options"].get("type", spec["format"])
        shape = self._shape
        self._layer = library.ggml_layer_create(
            shape.hidden, shape.width, shape.experts, shape.k, int(shape.renormalised), kind.encode(),
            int(FORMATS[spec["format"]].storage == "bf16"), f"{spec['checkpoint']}/ggml-{kind}".encode(),
            *(array.ctypes.data for array in (router, weights.gate_up, weights.down)))
        self._check(self._layer)
        self.label = spec["name"]
        self.version = f"ggml of llama-cpp-python {tool['version']}, buffers {library.ggml_layer_buffers(self._layer).decode()}"

    def _check(self, ok):
        if not ok:
            raise RuntimeError(self._library.ggml_layer_error().decode())

    def set_threads(self, count):
        self._library.ggml_layer_set_threads(self._layer, count)

    def prepare(self, inputs):
        self._inputs = [np.ascontiguousarray(as_f32(x)) for x in inputs]  # activations are f32 in llama.cpp
        self._check(self._library.ggml_layer_prepare(self._layer, len(inputs[0])))

    def call(self, index):
        self._check(self._library.ggml_layer_run(self._layer, self._inputs[index].ctypes.data))

    def output(self):
        out = np.empty((len(self._inputs[0]), self._shape.hidden), np.float32)
        self._library.ggml_layer_output(self._layer, out.ctypes.data)
        return out
