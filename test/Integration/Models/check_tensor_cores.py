#!/usr/bin/env python3
"""MoE blocks whose products are done on tensor cores, against sums in float64.

    check_tensor_cores.py HIDDEN:INTERMEDIATE:TOKENS... --dtype BF16|F16|F32 [--quantize FORMAT] [--seeds 0,1,2]
                          [--gpu-arch sm_90a] --tools DIR --work DIR

Makes a checkpoint of random weights for each pair of sizes, compiles its block for the kernel emulator, runs it under every
seed and for parts of the tokens, and computes the same here: router and sums in float64, rounded to the storage type where
the model rounds. Chosen experts must be the same, all but a few elements of the output the same value, no element further
off than one rounding to the neighbour; every schedule and split must give the same bits. The counters say whether all
products took the tensor cores. With --gpu-arch=sm_90a there must be so many tokens that both products of the experts take the
kernels for many rows of that architecture; the parts of the tokens take others, and still give the same bits here.

F32 is multiplied in parts of fewer bits: the largest error must be like that of a processor, whose sums are chains of fused
multiply-adds. One may be a quarter larger, as both are a matter of chance, and by a rounding of the largest output.

With a format of 4 bits or fp8 the sums are those of weights that are rounded here as the format has it, those of fp8 then to
the storage type. With int8, where sums are exact, outputs must be those of the same block compiled for a processor: at sizes
whose router logits have the same last bits there, as the router's f32 sums have an order of their own on each target (at
96:64:300 they do not, and 3 of 28800 outputs differ).
"""
import argparse
import array
import bisect
import json
import math
import os
import pathlib
import random
import struct
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from tensors import read_tensors, write_tensors

EXPERTS, CHOICES = 5, 2


class Storage:
    """A type of numbers."""

    def __init__(self, name):
        self.name, self.mantissa, self.least = name, *{"BF16": (8, -133), "F16": (11, -24), "F32": (24, -149)}[name]
        self.code = "I" if name == "F32" else "H"

    def round(self, value):
        """To the nearest number with so many significant bits, or fewer below the least exponent; ties to even."""
        scale = 2.0 ** max(math.frexp(value)[1] - self.mantissa, self.least)
        return round(value / scale) * scale

    def bits(self, value):
        """Of a number that has been rounded."""
        raw = struct.pack("<e" if self.name == "F16" else "<f", value)[2 if self.name == "BF16" else 0 :]
        return int.from_bytes(raw, "little")


def write_checkpoint(folder, storage, hidden, intermediate):
    """Returns the weights as lists of rows."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {"architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "hidden_act": "silu",
              "torch_dtype": {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}[storage.name], "hidden_size": hidden,
              "moe_intermediate_size": intermediate, "intermediate_size": intermediate, "num_experts": EXPERTS,
              "num_experts_per_tok": CHOICES, "norm_topk_prob": True, "num_hidden_layers": 1, "num_attention_heads": 2,
              "num_key_value_heads": 2, "head_dim": 8, "vocab_size": 16, "max_position_embeddings": 1024,
              "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "tie_word_embeddings": True, "decoder_sparse_step": 1,
              "mlp_only_layers": [], "attention_bias": False}
    (folder / "config.json").write_text(json.dumps(config))
    numbers = random.Random(hidden * 1000 + intermediate)
    mlp = "model.layers.0.mlp"
    shapes = {f"{mlp}.gate.weight": (EXPERTS, hidden)}
    for expert in range(EXPERTS):
        for name, shape in (("gate", (intermediate, hidden)), ("up", (intermediate, hidden)), ("down", (hidden, intermediate))):
            shapes[f"{mlp}.experts.{expert}.{name}_proj.weight"] = shape
    # Of the rest of the model only the shapes matter.
    rest = {"model.embed_tokens.weight": (16, hidden), "model.norm.weight": (hidden,)}
    for name, shape in (("input_layernorm", (hidden,)), ("post_attention_layernorm", (hidden,)),
                        ("self_attn.q_proj", (16, hidden)), ("self_attn.k_proj", (16, hidden)),
                        ("self_attn.v_proj", (16, hidden)), ("self_attn.o_proj", (hidden, 16)),
                        ("self_attn.q_norm", (8,)), ("self_attn.k_norm", (8,))):
        rest[f"model.layers.0.{name}.weight"] = shape
    weights, tensors = {}, {}
    for name, shape in {**shapes, **rest}.items():
        values = [storage.round(numbers.gauss(0, 0.5)) for _ in range(math.prod(shape))]
        tensors[name] = (shape, array.array(storage.code, map(storage.bits, values)), storage.name)
        weights[name.removeprefix(mlp + ".")] = [values[at : at + shape[-1]] for at in range(0, len(values), shape[-1])]
    write_tensors(folder / "model.safetensors", tensors)
    return weights


def to_f32(value):
    return struct.unpack("<f", struct.pack("<f", value))[0]


def bits_of(value):
    return struct.unpack("<I", struct.pack("<f", value))[0]


def from_bits(bits):
    return struct.unpack("<f", struct.pack("<I", bits))[0]


def as_int4(group):
    """Integers up to 7 times a scale of 5 significant bits."""
    scale = from_bits((bits_of(to_f32(max(map(abs, group)) / 7)) + (1 << 18)) & -(1 << 19))
    return [round(to_f32(x * to_f32(1 / scale))) * scale for x in group]


def as_mxfp4(group):
    """e2m1 times the smallest power of two that no element is more than 7 times of; ties to even codes."""
    scale = 2.0 ** (((bits_of(max(map(abs, group))) + 0x1FFFFF) >> 23) - 2 - 127)
    numbers = [0, 0.5, 1, 1.5, 2, 3, 4, 6]
    nearest = lambda x: min(range(8), key=lambda code: (abs(x - numbers[code]), code % 2))
    return [math.copysign(numbers[nearest(abs(x / scale))], x) * scale for x in group]


# The codes of e4m3 without a sign.
E4M3 = [code * 2.0**-9 if code < 8 else (8 + code % 8) * 2.0 ** (code // 8 - 10) for code in range(127)]


def as_fp8(group, storage):
    """e4m3 times the f32 scale that makes the largest 448, in the storage type; ties to even codes."""
    largest = max(map(abs, group))
    scale, inverse = to_f32(largest / 448), to_f32(448 / largest)

    def nearest(x):
        above = min(bisect.bisect_left(E4M3, x), 126)
        return E4M3[min((max(above - 1, 0), above), key=lambda code: (abs(x - E4M3[code]), code % 2))]

    return [storage.round(to_f32(math.copysign(nearest(abs(to_f32(x * inverse))), x) * scale)) for x in group]


def rounded(weights, to_format, size):
    """The weights of experts as codes, of which `size` share a scale, stand for them."""
    decode = lambda row: sum((to_format(row[at : at + size]) for at in range(0, len(row), size)), [])
    return {name: list(map(decode, rows)) if "experts" in name else rows for name, rows in weights.items()}


def dot(left, right):
    return math.fsum(a * b for a, b in zip(left, right))


def block(weights, storage, rows):
    """Outputs, chosen experts and router logits of the block."""
    outputs, choices, scores = [], [], []
    for x in rows:
        logits = [dot(x, row) for row in weights["gate.weight"]]
        chosen = sorted(range(EXPERTS), key=lambda e: (-logits[e], e))[:CHOICES]
        shares = [math.exp(logits[e] - logits[chosen[0]]) for e in chosen]
        output = [0.0] * len(x)
        for expert, share in zip(chosen, shares):
            of = lambda name: weights[f"experts.{expert}.{name}_proj.weight"]
            gate, up = ([dot(x, row) for row in of(name)] for name in ("gate", "up"))
            inner = [storage.round(g / (1 + math.exp(-g)) * u) for g, u in zip(gate, up)]
            output = [o + share / math.fsum(shares) * dot(inner, row) for o, row in zip(output, of("down"))]
        outputs += map(storage.round, output)
        choices += chosen
        scores += logits
    return outputs, choices, scores


class Wrong(Exception):
    pass


def expect(condition, text):
    if not condition:
        raise Wrong(text)


def call(command, **environment):
    done = subprocess.run(list(map(str, command)), env={**os.environ, **environment}, capture_output=True, text=True)
    expect(done.returncode == 0, f"{' '.join(map(str, command))}: status {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def run(program, work, hidden, values, seed):
    write_tensors(work / "in.safetensors", {"hidden": ([len(values) // hidden, hidden], array.array("f", values))})
    call([program, "run", "--input", work / "in.safetensors", "--output", work / "out.safetensors"], MOE_GPU_SEED=str(seed))
    return {name: values for name, (_, values) in read_tensors(work / "out.safetensors").items()}


def check(options, hidden, intermediate, tokens):
    storage = Storage(options.dtype)
    folder = options.work / f"{options.arch}-{options.dtype}-{hidden}-{intermediate}-{options.quantize}"
    weights = write_checkpoint(folder, storage, hidden, intermediate)
    program = folder / "program"
    compile = [pathlib.Path(options.tools) / "moe-compile", folder, "--layers=0"]
    compile += [f"--quantize={options.quantize}"] if options.quantize else []
    call([*compile, "--target=cuda", "--run-on=host", "--gpu-arch", options.arch, "-o", program])
    numbers = random.Random(tokens)
    rows = [[storage.round(numbers.gauss(0, 1)) for _ in range(hidden)] for _ in range(tokens)]
    flat = sum(rows, [])

    results = [run(program, folder, hidden, flat, seed) for seed in options.seeds]
    for seed, result in zip(options.seeds, results):
        expect(result == results[0], f"seed {seed} gives other bits than seed {options.seeds[0]}")
    got = results[0]
    for first, last in ((0, 1), (1, tokens // 2), (tokens // 2, tokens)):
        part = run(program, folder, hidden, flat[first * hidden : last * hidden], options.seeds[0])
        for name, values in part.items():
            each = len(got[name]) // tokens
            expect(values == got[name][first * each : last * each], f"{name}: tokens {first} to {last} alone give other bits")

    counted = json.loads(call([program, "bench", "--counters", "--json", "--tokens", str(tokens)]))["counters"][0]
    needed = 2 * tokens * hidden * 3 * CHOICES * intermediate  # of the experts
    needed *= 3 if options.dtype == "F32" else 1  # products of parts
    expect(counted["mma_operations"] >= needed, f"{counted['mma_operations']} operations on tensor cores, expected {needed}")
    if options.arch == "sm_90a":
        taken = [kernel["kernel"] for kernel in counted["kernels"] if kernel["kernel"].endswith("_sm_90a")]
        expect(len(taken) == 2, f"expected two kernels for sm_90a but got {taken}")

    if options.quantize == "int8":
        call([*compile, "--cpu=native", "-o", folder / "processor"])
        want = run(folder / "processor", folder, hidden, flat, 0)
        expect(all(got[name] == want[name] for name in ("hidden", "topk_index")), "other bits than a processor's")
        return "the bits of a processor"

    if options.quantize:
        formats = {"int4": (as_int4, 32), "mxfp4": (as_mxfp4, 32), "fp8": (lambda group: as_fp8(group, storage), 128)}
        weights = rounded(weights, *formats[options.quantize])
    outputs, choices, scores = block(weights, storage, rows)
    expect(list(got["topk_index"]) == choices, "other experts")
    largest = max(map(abs, scores))
    error = max(abs(g - w) for g, w in zip(got["router_logits"], scores)) / largest
    expect(error <= 1e-6, f"router logits off by {error:.1e} of the largest")
    if options.dtype == "F32":
        off = lambda result: max(abs(g - w) for g, w in zip(result["hidden"], outputs)) / max(map(abs, outputs))
        call([*compile, "--cpu=native", "-o", folder / "processor"])
        worst, processor = off(got), off(run(folder / "processor", folder, hidden, flat, 0))
        expect(worst <= 1.25 * processor + 2.0**-24,
               f"outputs off by {worst:.2e} of the largest, those of a processor by {processor:.2e}")
        return f"off by {worst:.1e} of the largest output, a processor by {processor:.1e}; router logits by {error:.1e}"
    # An element near the middle of two numbers may be rounded to the other one; h as well, which moves sums a little.
    step = 2.0**-storage.mantissa * max(map(abs, outputs))
    other = sum(g != w for g, w in zip(got["hidden"], outputs))
    worst = max(abs(g - w) for g, w in zip(got["hidden"], outputs))
    expect(worst <= 2 * step and other <= 0.02 * len(outputs), f"{other} of {len(outputs)} elements differ, by {worst} at most")
    return f"{other} of {len(outputs)} elements rounded to the neighbour, router logits within {error:.1e}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", nargs="+")
    parser.add_argument("--dtype", choices=["BF16", "F16", "F32"], required=True)
    parser.add_argument("--quantize", choices=["int8", "int4", "mxfp4", "fp8"])
    parser.add_argument("--seeds", type=lambda text: list(map(int, text.split(","))), default=[0, 1, 2])
    parser.add_argument("--gpu-arch", dest="arch", default="sm_80")
    parser.add_argument("--tools", required=True)
    parser.add_argument("--work", type=pathlib.Path, required=True)
    options = parser.parse_args()
    bad = 0
    for sizes in options.sizes:
        try:
            print(f"{options.quantize or options.dtype} {sizes}: {check(options, *map(int, sizes.split(':')))}")
        except Wrong as why:
            bad += 1
            print(f"{options.quantize or options.dtype} {sizes}: WRONG: {why}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
