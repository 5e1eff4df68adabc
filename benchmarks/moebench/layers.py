"""The layers that are timed: their checkpoints with random weights, batches of tokens, and the answer in f64."""
import dataclasses
import json
import pathlib

import numpy as np

from . import tensors

CHECKED = 16  # tokens of every batch 0 whose output is compared with the reference


@dataclasses.dataclass(frozen=True)
class Layer:
    """One MoE layer: a softmax router over E experts that picks k, each expert down(silu(gate x) * up x)."""

    name: str
    hidden: int
    width: int
    experts: int
    k: int
    renormalised: bool
    family: str = "qwen3_moe"

    def expert_values(self):
        """Weights of one expert."""
        return 3 * self.hidden * self.width

    def flops(self, tokens):
        """Multiplications and additions of a batch: experts and router."""
        return 2 * tokens * (self.k * self.expert_values() + self.experts * self.hidden)


LAYERS = {
    layer.name: layer
    for layer in (
        Layer("olmoe", 2048, 1024, 64, 8, False),
        Layer("qwen3", 2048, 768, 128, 8, True),
        Layer("mixtral", 4096, 14336, 8, 2, True, "mixtral"),
        Layer("gptoss", 2880, 2880, 32, 4, True),
        Layer("tiny", 64, 96, 8, 2, True),
    )
}

TITLES = {
    "olmoe": "OLMoE (H 2048, I 1024, 64 experts, 8 per token)",
    "qwen3": "Qwen3-30B-A3B (H 2048, I 768, 128 experts, 8 per token, renormalised)",
    "mixtral": "Mixtral-8x7B (H 4096, I 14336, 8 experts, 2 per token)",
    "gptoss": "gpt-oss-20b sizes, plain SwiGLU without biases (H 2880, I 2880, 32 experts, 4 per token)",
    "tiny": "tiny (for the self-test)",
}

# The names that both families share when the experts of a layer are one tensor.
ROUTER = "model.layers.0.mlp.gate.weight"
GATE_UP = "model.layers.0.mlp.experts.gate_up_proj"
DOWN = "model.layers.0.mlp.experts.down_proj"


def _config(layer, dtype):
    """config.json of a model with this one layer. Attention and vocabulary are small: no part of them is compiled."""
    config = {
        "model_type": layer.family, "hidden_size": layer.hidden, "num_hidden_layers": 1, "vocab_size": 256,
        "num_attention_heads": layer.hidden // 64, "num_key_value_heads": 1, "head_dim": 64, "hidden_act": "silu",
        "max_position_embeddings": 4096, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "tie_word_embeddings": True,
        "num_experts_per_tok": layer.k, "torch_dtype": {"f32": "float32", "bf16": "bfloat16"}[dtype],
    }
    if layer.family == "mixtral":
        config |= {"architectures": ["MixtralForCausalLM"], "num_local_experts": layer.experts, "intermediate_size": layer.width}
    else:
        config |= {"architectures": ["Qwen3MoeForCausalLM"], "num_experts": layer.experts, "moe_intermediate_size": layer.width,
                   "norm_topk_prob": layer.renormalised, "intermediate_size": layer.width, "decoder_sparse_step": 1,
                   "mlp_only_layers": [], "attention_bias": False, "use_sliding_window": False}
    return config


class _Pool:
    """Normally distributed numbers, drawn once and read from random places: making gigabytes of weights must be quick.
    The length is prime, so rows of a matrix do not repeat."""

    LENGTH = 4194319

    def __init__(self, rng):
        self._rng = rng
        self._numbers = rng.standard_normal(self.LENGTH, dtype=np.float32)

    def draw(self, count, scale):
        start = int(self._rng.integers(self.LENGTH))
        values = np.resize(np.roll(self._numbers, -start), count)
        values *= np.float32(scale)
        return values


def make_checkpoint(layer, dtype, folder):
    """Writes config.json and model.safetensors (dtype f32 or bf16) unless they are there; returns the folder."""
    folder = pathlib.Path(folder)
    done = folder / "config.json"
    if done.exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    e, h, i = layer.experts, layer.hidden, layer.width
    rng = np.random.default_rng([e, h, i])
    pool = _Pool(rng)
    store = (lambda values: values) if dtype == "f32" else tensors.to_bf16
    file = tensors.Writer(folder / "model.safetensors", {ROUTER: (e, h), GATE_UP: (e, 2 * i, h), DOWN: (e, h, i)},
                          {"f32": "F32", "bf16": "BF16"}[dtype])
    file.write(store(rng.standard_normal((e, h), dtype=np.float32) / np.float32(np.sqrt(h))))
    for _ in range(e):
        for _ in range(2):  # gate and up
            file.write(store(pool.draw(i * h, h**-0.5)))
    for _ in range(e):
        file.write(store(pool.draw(h * i, i**-0.5)))
    file.close()
    done.write_text(json.dumps(_config(layer, dtype), indent=1))
    return folder


class Weights:
    """The tensors of a checkpoint, mapped; bfloat16 as uint16."""

    def __init__(self, folder):
        mapped = tensors.map_tensors(pathlib.Path(folder) / "model.safetensors")
        self.router, self.gate_up, self.down = mapped[ROUTER], mapped[GATE_UP], mapped[DOWN]


class Batches:
    """Batches of T tokens for one layer and dtype.

    Routing is random and even, as a trained router's aims to be: each token's k experts are drawn at random. Which expert
    is which is then chosen so that a batch reads the experts whose last use is longest ago (see early_reuse). A token is noise plus its experts' router rows, so its
    choice has a margin that no rounding crosses. Batch 0 holds the tokens that are compared with the reference."""

    def __init__(self, layer, weights, dtype, tokens, count, seed=0):
        self.layer, self.tokens, self.count = layer, tokens, count
        router = tensors.as_f32(np.asarray(weights.router)).astype(np.float64)
        rows = router / np.linalg.norm(router, axis=1, keepdims=True)
        rng = np.random.default_rng([seed, tokens])
        last_use = np.zeros(layer.experts)
        self.experts, self.inputs = [], []
        self.checked_rows = np.unique(np.linspace(0, tokens - 1, min(tokens, CHECKED)).astype(int))
        for batch in range(count):
            labels = np.argsort(rng.random((tokens, layer.experts)), axis=1)[:, :layer.k]
            order = np.argsort(last_use + rng.random(layer.experts) * 0.5, kind="stable")
            used, inverse = np.unique(labels, return_inverse=True)
            names = np.empty(layer.experts, dtype=int)
            names[: len(used)] = order[: len(used)]
            chosen = names[inverse.reshape(labels.shape)]
            x = self._tokens(rng, rows, chosen)
            if batch == 0:
                fixed = np.random.default_rng([seed, 0])
                checked = np.argsort(fixed.random((CHECKED, layer.experts)), axis=1)[:, :layer.k]
                count_checked = len(self.checked_rows)
                x[self.checked_rows] = self._tokens(fixed, rows, checked)[:count_checked]
                chosen[self.checked_rows] = checked[:count_checked]
            last_use[np.unique(chosen)] = batch + 1
            x = x.astype(np.float32)
            self.inputs.append(tensors.to_bf16(x) if dtype == "bf16" else x)
            self.experts.append(chosen)

    @staticmethod
    def _tokens(rng, rows, chosen):
        tokens, k = chosen.shape
        x = rng.standard_normal((tokens, rows.shape[1]))
        # The router's rows have length about 1: logits of chosen experts end up between 9 and 12, of others mostly below 4.
        strength = 9 + 3 * rng.random((tokens, k))
        for token in range(tokens):
            x[token] -= (x[token] @ rows[chosen[token]].T) @ rows[chosen[token]]
            x[token] += strength[token] @ rows[chosen[token]]
        return x

    def experts_hit(self):
        """Mean number of different experts in a batch."""
        return float(np.mean([len(np.unique(chosen)) for chosen in self.experts]))

    def early_reuse(self, bytes_per_expert, limit):
        """Share of the reads of an expert that come before `limit` bytes of others were read since its last use; the
        sequence of batches repeats, and a batch reads its experts in order."""
        last, early, reads, position = {}, 0, 0, 0
        for turn in range(2):
            for chosen in self.experts:
                for expert in np.unique(chosen):
                    if turn == 1:
                        reads += 1
                        early += position - last[expert] - 1 < limit / bytes_per_expert
                    last[expert] = position
                    position += 1
        return early / reads


def reference(layer, weights, dtype):
    """The outputs in f64 of the tokens that are checked, from the weights and inputs as they are stored. A batch of fewer
    tokens checks the first of them."""
    batches = Batches(layer, weights, dtype, CHECKED, 1)
    x = tensors.as_f32(batches.inputs[0][batches.checked_rows]).astype(np.float64)
    logits = x @ tensors.as_f32(np.asarray(weights.router)).astype(np.float64).T
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    scores = exponents / exponents.sum(axis=1, keepdims=True)
    order = np.argsort(-logits, axis=1)
    chosen = order[:, : layer.k]
    if not all(set(a) == set(b) for a, b in zip(chosen, batches.experts[0][batches.checked_rows])):
        raise RuntimeError("the router chooses other experts than the batch was made for")
    values = np.take_along_axis(scores, chosen, axis=1)
    if layer.renormalised:
        values /= values.sum(axis=1, keepdims=True)
    result = np.zeros_like(x)
    for expert in np.unique(chosen):
        tokens, slots = np.nonzero(chosen == expert)
        hidden = _product(x[tokens], weights.gate_up[expert])
        gate, up = hidden[:, : layer.width], hidden[:, layer.width :]
        result[tokens] += values[tokens, slots][:, None] * _product(gate / (1 + np.exp(-gate)) * up, weights.down[expert])
    return result


def _product(x, weight, rows=2048):
    """x times the transposed weight in f64, a slice of the weight at a time."""
    parts = [x @ tensors.as_f32(np.asarray(weight[r : r + rows])).astype(np.float64).T for r in range(0, len(weight), rows)]
    return np.concatenate(parts, axis=1)
