"""ONNX Runtime's operators for the layer: com.microsoft.MoE in f32, com.microsoft.QMoE in 8 and 4 bits."""
import numpy as np
import onnxruntime
from onnx import TensorProto, helper

from ..layers import LAYERS, Weights
from ..tensors import as_f32

BLOCK = 32  # values per scale of QMoE's fast path


def interleaved(gate_up):
    """[2I, H] with the gate's rows first -> rows of gate and up in turn, the one order that the CPU kernels take."""
    half = len(gate_up) // 2
    return np.ascontiguousarray(np.stack([gate_up[:half], gate_up[half:]], axis=1).reshape(gate_up.shape))


def quantise(weight, bits):
    """[rows, columns] f32 -> packed uint8 (symmetric around the middle), scales [rows, columns / BLOCK]."""
    rows, columns = weight.shape
    blocks = weight.reshape(rows, columns // BLOCK, BLOCK)
    largest = 2 ** (bits - 1) - 1
    scales = np.abs(blocks).max(axis=2) / largest
    scales[scales == 0] = 1
    values = (np.rint(blocks / scales[..., None]) + 2 ** (bits - 1)).astype(np.uint8).reshape(rows, columns)
    if bits == 4:
        values = values[:, 0::2] | (values[:, 1::2] << 4)
    return values, scales.astype(np.float32)


class _Session:
    """A model of router and one MoE operator; weights are given to ONNX Runtime without a file."""

    packaged = True

    def __init__(self, spec):
        self._spec, self._layer = spec, LAYERS[spec["layer"]]
        self._weights = Weights(spec["checkpoint"])
        self.label, self.version = spec["name"], f"onnxruntime {onnxruntime.__version__}"
        self._initializers, self._kept = {}, None
        self._session = self._threads = None
        router = np.ascontiguousarray(as_f32(np.asarray(self._weights.router)).T)
        self._initializers["router"] = router
        self._make_weights()

    def _make_weights(self):
        raise NotImplementedError

    def _model(self):
        layer = self._layer
        initializers = []
        for name, array in self._initializers.items():
            kind = helper.np_dtype_to_tensor_dtype(array.dtype)
            tensor = TensorProto(name=name, data_type=kind, dims=array.shape, data_location=TensorProto.EXTERNAL)
            tensor.external_data.add(key="location", value="given")
            initializers.append(tensor)
        nodes = [helper.make_node("MatMul", ["x", "router"], ["logits"]), self._node()]
        rows = ["T", layer.hidden]
        graph = helper.make_graph(nodes, "layer", [helper.make_tensor_value_info("x", TensorProto.FLOAT, rows)],
                                  [helper.make_tensor_value_info("y", TensorProto.FLOAT, rows)], initializers)
        opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()

    def _node(self):
        raise NotImplementedError

    def _attributes(self):
        layer = self._layer
        return {"domain": "com.microsoft", "k": layer.k, "activation_type": "swiglu", "swiglu_fusion": 1,
                "activation_alpha": 1.0, "activation_beta": 0.0, "normalize_routing_weights": int(layer.renormalised)}

    def set_threads(self, count):
        if self._threads == count:
            return
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = count
        self._session = None
        values = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in self._initializers.values()]
        self._kept = values
        options.add_external_initializers(list(self._initializers), values)
        self._session = onnxruntime.InferenceSession(self._model(), options, providers=["CPUExecutionProvider"])
        self._threads = count

    def prepare(self, inputs):
        self._inputs = [{"x": np.ascontiguousarray(as_f32(x))} for x in inputs]

    def call(self, index):
        (self._out,) = self._session.run(None, self._inputs[index])

    def output(self):
        return self._out


class OrtMoe(_Session):
    """The f32 operator."""

    def _make_weights(self):
        gate_up = np.empty(self._weights.gate_up.shape, np.float32)
        for expert, matrix in enumerate(self._weights.gate_up):
            gate_up[expert] = interleaved(matrix)
        self._initializers |= {"w1": gate_up, "w2": np.asarray(self._weights.down)}

    def _node(self):
        return helper.make_node("MoE", ["x", "logits", "w1", "", "w2"], ["y"], **self._attributes())


class OrtQMoe(_Session):
    """The quantised operator, scales per block of 32; with ORT_QMOE_CPU_QNBIT_GEMM=int8 in the environment it multiplies
    integers instead of decoded floats."""

    def _make_weights(self):
        layer, bits = self._layer, {"int8": 8, "int4": 4}[self._spec["format"]]
        if not layer.renormalised:
            raise RuntimeError("QMoE on CPUs always renormalises (it ignores normalize_routing_weights=0)")
        for name, source in (("w1", self._weights.gate_up), ("w2", self._weights.down)):
            experts, rows, columns = source.shape
            values = np.empty((experts, rows, columns * bits // 8), np.uint8)
            scales = np.empty((experts, rows, columns // BLOCK), np.float32)
            for expert, matrix in enumerate(source):
                weight = as_f32(np.asarray(matrix))
                values[expert], scales[expert] = quantise(interleaved(weight) if name == "w1" else weight, bits)
            self._initializers |= {name: values, name + "_scales": scales}

    def _node(self):
        bits = {"int8": 8, "int4": 4}[self._spec["format"]]
        return helper.make_node("QMoE", ["x", "logits", "w1", "w1_scales", "", "w2", "w2_scales"], ["y"],
                                expert_weight_bits=bits, block_size=BLOCK, **self._attributes())
