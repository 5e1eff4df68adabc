#!/usr/bin/env python3
"""Checkpoints of F8_E4M3 with a scale for every 128 x 128 weights: check_fp8.py --tools DIR --work DIR.

Makes small ones out of random codes, whose sizes are no multiples of 128, beside the same models with the weights decoded here
to F32, and compares: MoE blocks with an oracle in f64, logits of both models, all instruction-set levels and kernels of GPUs on
the emulator. Then folders with something wrong, each of which must be refused with the tensor's name. Exit status 1 if
anything differs.
"""
import argparse
import array
import json
import math
import operator
import pathlib
import random
import struct
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from check_model import BLOCK, STORAGE, Models, Wrong, check_block, expect, largest_error, relative_error
from tensors import write_tensors

SIDE = 128
HIDDEN, HEADS, HEAD, EXPERTS, PER_TOKEN, VOCABULARY = 144, 4, 40, 4, 2, 97
QUANTIZATION = {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [SIDE, SIDE]}
COMMON = {
    "dtype": "bfloat16", "eos_token_id": 2, "head_dim": HEAD, "hidden_act": "silu", "hidden_size": HIDDEN, "max_position_embeddings": 64,
    "num_attention_heads": HEADS, "num_key_value_heads": 2, "num_experts_per_tok": PER_TOKEN, "num_hidden_layers": 2,
    "num_local_experts": EXPERTS, "rms_norm_eps": 1e-6, "tie_word_embeddings": False, "vocab_size": VOCABULARY,
    "quantization_config": QUANTIZATION,
}
# Family: its config, width of experts, of the dense layer 0 if there is one, name of the block, names of gate, up and down.
FAMILIES = {
    "qwen3_moe": ({"moe_intermediate_size": 136, "intermediate_size": 264, "norm_topk_prob": True, "mlp_only_layers": [0]},
                  136, 264, "mlp", ("gate_proj", "up_proj", "down_proj")),
    "mixtral": ({"intermediate_size": 256}, 256, 0, "block_sparse_moe", ("w1", "w3", "w2")),
}
NUMBERS = [(-1) ** (c >> 7) * ((c & 7) * 2.0**-9 if c & 0x78 == 0 else (8 + (c & 7)) * 2.0 ** ((c >> 3 & 15) - 10)) for c in range(256)]


def bf16_bits(value):
    """The bf16 below in magnitude, as 16 bits."""
    return struct.unpack("<I", struct.pack("<f", value))[0] >> 16


def bf16(value):
    return struct.unpack("<f", struct.pack("<I", bf16_bits(value) << 16))[0]


class Model:
    """The tensors of a model: as the checkpoint has them, and decoded."""

    def __init__(self, family, scales_are_bf16):
        self.config, self.width, dense, block, names = FAMILIES[family]
        self.config = {"model_type": family, **COMMON, **self.config}
        self.stored, self.decoded, self.generator, self.scales_are_bf16 = {}, {}, random.Random(family), scales_are_bf16
        self.plain("model.embed_tokens.weight", [VOCABULARY, HIDDEN], 1.0)
        self.plain("lm_head.weight", [VOCABULARY, HIDDEN], 0.1)
        self.plain("model.norm.weight", [HIDDEN], 1.0)
        for layer in range(2):
            at = f"model.layers.{layer}."
            for name in ("input_layernorm", "post_attention_layernorm"):
                self.plain(f"{at}{name}.weight", [HIDDEN], 1.0)
            if family == "qwen3_moe":
                for name in ("q_norm", "k_norm"):
                    self.plain(f"{at}self_attn.{name}.weight", [HEAD], 1.0)
            for name, rows, columns in (("q", HEADS * HEAD, HIDDEN), ("k", 2 * HEAD, HIDDEN), ("v", 2 * HEAD, HIDDEN), ("o", HIDDEN, HEADS * HEAD)):
                self.codes(f"{at}self_attn.{name}_proj", rows, columns)
            networks = [(f"{at}mlp.", ("gate_proj", "up_proj", "down_proj"), dense)]
            if layer or not dense:
                self.plain(f"{at}{block}.gate.weight", [EXPERTS, HIDDEN], 0.3)
                networks = [(f"{at}{block}.experts.{e}.", names, self.width) for e in range(EXPERTS)]
                self.experts, self.gate = [[prefix + name for name in names] for prefix, names, _ in networks], f"{at}{block}.gate.weight"
            for prefix, (gate, up, down), width in networks:
                self.codes(prefix + gate, width, HIDDEN)
                self.codes(prefix + up, width, HIDDEN)
                self.codes(prefix + down, HIDDEN, width)

    def plain(self, name, shape, size):
        bits = array.array("H", [bf16_bits(self.generator.uniform(-size, size)) for _ in range(math.prod(shape))])
        self.stored[name] = shape, bits, "BF16"
        self.decoded[name] = shape, array.array("f", [struct.unpack("<f", struct.pack("<I", b << 16))[0] for b in bits])

    def codes(self, name, rows, columns):
        """Any code but NaN, so that all are met; large ones are rare, as in checkpoints."""
        name += ".weight"
        draw = self.generator.choices(range(256), [0 if c & 0x7F == 0x7F else 4 if c & 0x40 == 0 else 1 for c in range(256)], k=rows * columns)
        blocks = [-(-rows // SIDE), -(-columns // SIDE)]
        scales = [bf16(self.generator.uniform(0.5, 2) * 2.0**-10) for _ in range(math.prod(blocks))]
        if not self.scales_are_bf16:
            scales = array.array("f", [s * (1 + self.generator.random() / 256) for s in scales])
        self.stored[name] = [rows, columns], array.array("B", draw), "F8_E4M3"
        self.stored[name + "_scale_inv"] = ((blocks, array.array("H", map(bf16_bits, scales)), "BF16") if self.scales_are_bf16
                                            else (blocks, scales))
        self.decoded[name] = [rows, columns], array.array("f", [NUMBERS[code] * scales[i // columns // SIDE * blocks[1] + i % columns // SIDE]
                                                                for i, code in enumerate(draw)])

    def write(self, folder, tensors, **changes):
        folder.mkdir(parents=True, exist_ok=True)
        config = {**self.config, **changes}
        (folder / "config.json").write_text(json.dumps({key: value for key, value in config.items() if value is not None}))
        write_tensors(folder / "model.safetensors", tensors)
        return folder

    def block(self, rows):
        """What the last layer's MoE block makes of `rows`, in f64, as check_block wants it."""

        def product(x, name):
            (_, columns), w = self.decoded[name if name.endswith("weight") else name + ".weight"]
            return [sum(map(operator.mul, x, w[i : i + columns])) for i in range(0, len(w), columns)]

        logits, index, weight, output = [], [], [], []
        for x in rows:
            score = product(x, self.gate)
            chosen = sorted(range(EXPERTS), key=lambda e: -score[e])[:PER_TOKEN]
            exponentials = [math.exp(score[e] - score[chosen[0]]) for e in chosen]
            weights = [value / sum(exponentials) for value in exponentials]
            total = [0.0] * HIDDEN
            for e, w in zip(chosen, weights):
                gate, up, down = self.experts[e]
                inner = [g / (1 + math.exp(-g)) * u for g, u in zip(product(x, gate), product(x, up))]
                total = [t + w * y for t, y in zip(total, product(inner, down))]
            logits += score
            index += chosen
            weight += weights
            output += total
        shape = [len(rows), PER_TOKEN]
        return {"moe.1.input": ([len(rows), HIDDEN], array.array("f", sum(rows, []))), "moe.1.topk_index": (shape, index),
                "moe.1.topk_weight": (shape, weight), "moe.1.router_logits": (None, logits), "moe.1.output": (None, output)}


def devices(models, folder):
    """Every level of this machine, and the emulator: their names, and what runs the last layer's block on them."""
    program = models.compile(folder, "--layers=1", "--cpu=amx,avx512,avx2,x86-64,amx-emulated")
    kernels = models.compile(folder, "--layers=1", "--target=cuda", "--run-on=host")

    def runner(program, *options):
        def run(rows):
            hidden = {"hidden": ([len(rows), HIDDEN], array.array("f", sum(rows, [])))}
            return models.run(program, hidden, "--entry", "moe.1", *options)
        return run

    for level in json.loads(models.call(program, "info", "--json"))["isa_available"]:
        yield level, runner(program, "--isa", level)
    yield "emulator", runner(kernels)


def check_family(models, family, scales_are_bf16):
    model = Model(family, scales_are_bf16)
    stored = model.write(models.work / family, model.stored)
    decoded = model.write(models.work / (family + "-decoded"), model.decoded, quantization_config=None)
    rows = [[bf16(model.generator.uniform(-1, 1)) for _ in range(HIDDEN)] for _ in range(21)]
    want = model.block(rows)
    check_block(models, models.compile(stored, "--numerics=f32", "--layers=1", "--cpu=native"), 1, want)

    # In bf16 the activations between the products are rounded, and the weights on tensor cores; on every device, and one
    # row or two as among others.
    errors = []
    for level, run_block in devices(models, stored):
        def run(part):
            return run_block(part)["hidden"][1]

        got = run(rows)
        errors.append(relative_error(got, want["moe.1.output"][1]))
        expect(errors[-1] <= STORAGE, f"{level}: the block is off by {errors[-1]:.1e}")
        for first, last in ((3, 4), (5, 7), (0, 20)):
            expect(run(rows[first:last]) == got[first * HIDDEN : last * HIDDEN], f"{level}: rows {first} to {last} alone differ")

    ids = {"input_ids": ([2, 9], array.array("q", [(7 * i * i + 3) % VOCABULARY for i in range(18)]))}
    logits = [models.run(models.compile(folder, "--numerics=f32", "--cpu=native"), ids)["logits"][1] for folder in (stored, decoded)]
    error = largest_error(*logits) / max(map(abs, logits[1]))
    expect(error <= BLOCK, f"logits off by {error:.1e} from those with decoded weights")
    return model, f"block in bf16 within {max(errors):.1e}, logits within {error:.1e}"


def check_refusals(models, model):
    """Folders with something wrong, and what the message has to say."""
    name = model.experts[2][1] + ".weight"
    shape, codes, _ = model.stored[name]
    for text, changes in {
        f"tensor '{name}_scale_inv' is missing": {f"{name}_scale_inv": None},
        f"tensor '{name}_scale_inv': expected shape [2,2] but got [2,1]": {f"{name}_scale_inv": ([2, 1], array.array("f", [1, 1]))},
        f"tensor '{name}_scale_inv': expected F32, BF16 or F16 but got I32": {f"{name}_scale_inv": ([2, 2], array.array("i", [1] * 4))},
        f"tensor '{name}': expected F8_E4M3 but got F8_E5M2": {name: (shape, codes, "F8_E5M2")},
        "tensor 'model.norm.weight': expected F32, BF16 or F16 but got F8_E4M3":
            {"model.norm.weight": ([HIDDEN], array.array("B", [0] * HIDDEN), "F8_E4M3")},
    }.items():
        tensors = {key: value for key, value in {**model.stored, **changes}.items() if value}
        folder = model.write(models.work / "wrong", tensors)
        done = subprocess.run([str(models.compiler), str(folder), "-o", str(models.work / "never")], capture_output=True, text=True)
        expect(done.returncode == 1 and done.stderr.count("error") == 1 and text in done.stderr,
               f"expected '{text}' but got status {done.returncode}: {done.stderr.strip()}")
    return "what is wrong is refused"


def check_nan(models, model):
    """A code that is NaN makes the rows that meet its expert NaN, and no others."""
    shape, codes, dtype = model.stored[model.experts[2][2] + ".weight"]
    wrong = array.array("B", codes)
    wrong[5 * shape[1] + 130] = 0x7F
    folder = model.write(models.work / "nan", {**model.stored, model.experts[2][2] + ".weight": (shape, wrong, dtype)})
    rows = [[bf16(model.generator.uniform(-1, 1)) for _ in range(HIDDEN)] for _ in range(21)]
    for level, run in devices(models, folder):
        got = run(rows)
        chosen = [2 in got["topk_index"][1][i : i + PER_TOKEN] for i in range(0, 21 * PER_TOKEN, PER_TOKEN)]
        want = [met and column == 5 for met in chosen for column in range(HIDDEN)]
        expect(any(want) and [value != value for value in got["hidden"][1]] == want, f"{level}: NaN elsewhere than in column 5")
    return "NaN stays in its column"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tools", required=True)
    parser.add_argument("--work", required=True)
    options = parser.parse_args()
    models = Models(options.tools, options.work, [], [])
    try:
        for family, scales_are_bf16 in (("qwen3_moe", True), ("mixtral", False)):
            model, said = check_family(models, family, scales_are_bf16)
            print(f"{family}: {said}")
        print(f"{family}: {check_refusals(models, model)}")
        print(f"{family}: {check_nan(models, model)}")
    except Wrong as why:
        print(f"WRONG: {why}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
