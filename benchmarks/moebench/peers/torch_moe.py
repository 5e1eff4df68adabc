"""The MoE block of transformers on PyTorch, with one of its experts implementations."""
import torch
import transformers
from transformers.models.qwen3_moe import configuration_qwen3_moe, modeling_qwen3_moe

from ..formats import FORMATS
from ..layers import LAYERS, Weights


def as_tensor(array):
    """A torch tensor of an array that may be bfloat16 as uint16; shares the memory."""
    return torch.from_numpy(array).view(torch.bfloat16) if array.dtype == "uint16" else torch.from_numpy(array)


class TorchMoe:
    """Qwen3MoeSparseMoeBlock serves all layers: the others' blocks compute the same from the same tensors."""

    packaged = True

    def __init__(self, spec):
        layer, self._experts = LAYERS[spec["layer"]], spec["options"]["experts"]
        self.label, self.version = f"torch-{self._experts}", f"torch {torch.__version__}, transformers {transformers.__version__}"
        config = configuration_qwen3_moe.Qwen3MoeConfig(
            hidden_size=layer.hidden, moe_intermediate_size=layer.width, num_experts=layer.experts,
            num_experts_per_tok=layer.k, norm_topk_prob=layer.renormalised, hidden_act="silu")
        config._experts_implementation = self._experts  # pylint: disable=protected-access; what from_pretrained sets
        with torch.device("meta"):
            block = modeling_qwen3_moe.Qwen3MoeSparseMoeBlock(config)
        weights = Weights(spec["checkpoint"])
        tensors = {"gate.weight": weights.router, "experts.gate_up_proj": weights.gate_up, "experts.down_proj": weights.down}
        block.load_state_dict({name: as_tensor(array) for name, array in tensors.items()}, assign=True)
        self._block = block.eval().requires_grad_(False)
        self._layer, self._bytes = layer, FORMATS[spec["format"]].bits / 8
        self._out = None

    def set_threads(self, count):
        torch.set_num_threads(count)

    def prepare(self, inputs):
        tokens = len(inputs[0])
        # It copies the weights of every choice before it multiplies.
        copied = tokens * self._layer.k * self._layer.expert_values() * self._bytes
        if self._experts == "batched_mm" and copied > 1.5e9:
            raise RuntimeError(f"would copy {copied / 1e9:.1f} GB of weights per call")
        self._inputs = [as_tensor(x)[None] for x in inputs]

    def call(self, index):
        with torch.inference_mode():
            self._out = self._block(self._inputs[index])

    def output(self):
        out = self._out[0] if isinstance(self._out, tuple) else self._out
        return out.reshape(-1, self._layer.hidden).float().numpy()
