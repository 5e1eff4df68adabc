#!/usr/bin/env python3
"""Compiles models and compares what the executables say with expected values.

    check_model.py golden FOLDER... [options]       MoE blocks, logits and greedy text of golden folders
    check_model.py sample MODEL EVAL [options]      perplexities, expert counts, logits and texts of the sample model
    check_model.py same-bits MODEL TEXT [options]   threads, batches and chunks do not change a bit
    check_model.py levels FOLDER [options]          every instruction-set level of this machine agrees
    check_model.py foreign MODEL TEXT [options]     programs for another machine say what programs for this one say
    check_model.py emulated FOLDER... [options]     MoE blocks of golden folders as GPU kernels on the emulator
    check_model.py emulated-sample MODEL TEXT       the sample model on the emulator
    check_model.py launches MODEL                   kernels that a MoE block of the sample model takes on a GPU
    check_model.py quantized MODEL TEXT [options]   perplexity with each format, on every level, and by the reference lowering

Options: --tools DIR (with moe-compile), --work DIR, --flag=F (for moe-compile, repeatable), --runner=COMMAND (runs the
programs, where they are not for this machine).
What the folders hold is described in test/Inputs/goldens/README.md and in the sample model's card. Exit status 1 if anything
differs.
"""
import argparse
import array
import json
import math
import os
import pathlib
import shlex
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from tensors import read_tensors, write_tensors

# A float32 implementation is off by 2e-5 at most; these are the promises of the goldens' makers.
LOGITS, BLOCK = 1e-4, 1e-5
# Two orders of the same f32 sums may round to neighbours in bf16.
STORAGE = 2.0**-7


class Wrong(Exception):
    """Something differs; the text says what."""


def expect(condition, text):
    if not condition:
        raise Wrong(text)


class Models:
    """Compiles and runs; everything lies in the folder `work`."""

    def __init__(self, tools, work, flags, runner):
        self.compiler, self.work, self.flags = pathlib.Path(tools) / "moe-compile", pathlib.Path(work), flags
        self.runner = runner
        self.work.mkdir(parents=True, exist_ok=True)

    def call(self, *command):
        if command[0] != self.compiler:
            command = (*self.runner, *command)
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
        expect(done.returncode == 0, f"{' '.join(map(str, command))}: status {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def compile(self, model, *flags):
        program = self.work / (pathlib.Path(model).name + "".join(flags).replace("=", "").replace("/", ""))
        self.call(self.compiler, model, "-o", program, *flags, *self.flags)
        return program

    def run(self, program, tensors, *options):
        write_tensors(self.work / "in.safetensors", tensors)
        self.call(program, "run", "--input", self.work / "in.safetensors", "--output", self.work / "out.safetensors", *options)
        return read_tensors(self.work / "out.safetensors")

    def generate(self, program, prompt, count, *options):
        ids = ",".join(map(str, prompt))
        said = self.call(program, "generate", "--prompt-ids", ids, "--max-new-tokens", count, "--ignore-eos", "--json", *options)
        return json.loads(said)["generated_ids"]


def largest_error(got, want):
    """Largest |got - want|; infinite if the lengths differ or a value is not a number."""
    if len(got) != len(want) or any(g != g for g in got):
        return math.inf
    return max((abs(g - w) for g, w in zip(got, want)), default=0.0)


def relative_error(got, want):
    return largest_error(got, want) / max((abs(w) for w in want), default=1.0)


def check_block(models, program, layer, want):
    """One MoE block: the same experts, their weights, the output."""
    got = models.run(program, {"hidden": want[f"moe.{layer}.input"]}, "--entry", f"moe.{layer}")
    (tokens, k), index = want[f"moe.{layer}.topk_index"]
    weight = want[f"moe.{layer}.topk_weight"][1]
    expect(got["topk_index"][0] == [tokens, k], f"moe.{layer}: topk_index of shape {got['topk_index'][0]}")
    for token in range(tokens):
        row = slice(token * k, token * k + k)
        wanted = dict(zip(index[row], weight[row]))
        chosen = dict(zip(got["topk_index"][1][row], got["topk_weight"][1][row]))
        expect(set(chosen) == set(wanted), f"moe.{layer}: token {token}: experts {sorted(chosen)}, expected {sorted(wanted)}")
        error = relative_error([chosen[e] for e in wanted], list(wanted.values()))
        expect(error <= BLOCK, f"moe.{layer}: token {token}: weights off by {error:.1e}")
    for name, key in (("hidden", "output"), ("router_logits", "router_logits")):
        error = relative_error(got[name][1], want[f"moe.{layer}.{key}"][1])
        expect(error <= BLOCK, f"moe.{layer}: {name} off by {error:.1e} of the largest value")


def check_golden(models, folder):
    want = read_tensors(folder / "expected.safetensors")
    layers = sorted({int(name.split(".")[1]) for name in want if name.startswith("moe.")})
    if layers:
        program = models.compile(folder, "--numerics=f32", "--layers=" + ",".join(map(str, layers)))
        for layer in layers:
            check_block(models, program, layer, want)
    program = models.compile(folder, "--numerics=f32")
    error = largest_error(models.run(program, {"input_ids": want["input_ids"]})["logits"][1], want["logits"][1])
    expect(error <= LOGITS, f"logits off by {error:.1e}")
    done = f"blocks {layers}, logits within {error:.1e}"
    if "generated_ids" in want:
        text = list(want["generated_ids"][1])
        got = models.generate(program, want["prompt_ids"][1], len(text))
        expect(got == text, f"greedy text {got}, expected {text}")
        done += f", {len(text)} tokens of greedy text"
    return done


def check_sample(models, model, place):
    expected = json.loads((place / "expected.json").read_text())
    exact, default = models.compile(model, "--numerics=f32"), models.compile(model)
    for name, want in expected["domains"].items():
        command = ("score", place / f"{name}.txt", "--window", 256, "--json")
        got = json.loads(models.call(exact, *command))["files"][0]
        expect(got["tokens"] == want["scored_tokens"], f"{name}: {got['tokens']} tokens, expected {want['scored_tokens']}")
        error = abs(got["nll"] / want["mean_nll"] - 1)
        expect(error <= 1e-4, f"{name}: mean NLL {got['nll']}, expected {want['mean_nll']}")
        # A choice with a tiny gap between two experts may fall otherwise: then up to four counts of a layer move.
        moved = sum(abs(g - w) for got_layer, layer in zip(got["expert_counts"], want["expert_counts"])
                    for g, w in zip(got_layer, layer))
        close = want["router_gaps_below_1e-4"]
        expect(moved <= 4 * close, f"{name}: counts differ by {moved}, with {close} choices that close")
        plain = json.loads(models.call(default, *command))["files"][0]
        off = abs(plain["perplexity"] / want["perplexity"] - 1)
        expect(off <= 5e-3, f"{name}: perplexity {plain['perplexity']} in the storage type, expected {want['perplexity']}")
        print(f"{name}: NLL within {error:.1e}, counts moved {moved}, storage type's perplexity within {off:.1e}")
    want = read_tensors(place / "logits.safetensors")
    error = largest_error(models.run(exact, {"input_ids": want["input_ids"]})["logits"][1], want["logits"][1])
    expect(error <= 2e-4, f"logits off by {error:.1e}")
    for want in expected["generations"]:
        got = models.generate(exact, want["prompt_ids"], len(want["generated_ids"]))
        expect(got == want["generated_ids"], f"another text after {want['prompt']!r}")
    return f"logits within {error:.1e}, {len(expected['generations'])} texts equal"


def check_same_bits(models, model, text):
    program = models.compile(model)
    row = [(11 * i * i + 5 * i) % 97 for i in range(75)]
    other = row[::-1]

    def logits(rows, threads):
        ids = array.array("q", sum(rows, []))
        shape, values = models.run(program, {"input_ids": ([len(rows), len(row)], ids)}, "--threads", threads)["logits"]
        each, at = len(row) * shape[-1], rows.index(row)
        return values[at * each : (at + 1) * each].tobytes()

    seen = {logits(rows, threads) for rows in ([row], [row, other], [other, other, row]) for threads in (1, 2, 3)}
    expect(len(seen) == 1, f"{len(seen)} different logits over batches and threads")
    scores = {json.dumps(json.loads(models.call(program, "score", text, "--json", *more))["files"][0]["nll"])
              for more in ((), ("--chunk", 1, "--threads", 2), ("--chunk", 7), ("--chunk", 100, "--threads", 1))}
    expect(len(scores) == 1, f"different scores over chunks: {sorted(scores)}")
    texts = {tuple(models.generate(program, row[:5], 40, "--threads", threads)) for threads in (1, 2)}
    expect(len(texts) == 1, "different texts over threads")
    return "the same bits for all batches, threads and chunks"


def check_levels(models, folder):
    want = read_tensors(folder / "expected.safetensors")
    program = models.compile(folder, "--numerics=f32")
    levels = json.loads(models.call(program, "info", "--json"))["isa_available"]
    results = {}
    for level in levels:
        got = models.run(program, {"input_ids": want["input_ids"]}, "--isa", level)["logits"][1]
        error = largest_error(got, want["logits"][1])
        expect(error <= LOGITS, f"{level}: logits off by {error:.1e}")
        results[level] = got.tobytes()
    # Chains of fused multiply-adds have one value on every level that has the instruction.
    fused = {results[level] for level in levels if level != "x86-64"}
    expect(len(fused) <= 1, "levels with fused multiply-add differ in bits")
    return f"levels {', '.join(levels)}"


def check_foreign(models, model, text):
    own = Models(models.compiler.parent, models.work / "own", ["--cpu=avx2,x86-64"], [])

    def say(models, program, *options):
        score = json.loads(models.call(program, "score", text, "--json", *options))["files"][0]
        words = json.loads(models.call(program, "generate", "a moe is", "--max-new-tokens", 12, "--json", *options))
        return score["nll"], score["expert_counts"], words["text"]

    program = own.compile(model)
    want = {level: say(own, program, "--isa", level) for level in json.loads(own.call(program, "info", "--json"))["isa_available"]}
    base, program, lines = want["x86-64"], models.compile(model), []
    for level in json.loads(models.call(program, "info", "--json"))["isa_available"]:
        said = {json.dumps(say(models, program, "--isa", level, "--threads", threads)) for threads in (1, 2)}
        expect(len(said) == 1, f"{level}: one thread and two differ: {sorted(said)}")
        got = tuple(json.loads(said.pop()))
        moved = sum(abs(g - w) for layer, own_layer in zip(got[1], base[1]) for g, w in zip(layer, own_layer))
        expect(abs(got[0] - base[0]) <= SAME, f"{level}: NLL {got[0]}, here {base[0]}")
        expect(moved <= 8, f"{level}: experts' counts differ by {moved}")
        expect(got[2] == base[2], f"{level}: text {got[2]!r}, here {base[2]!r}")
        if level == "aarch64" and "avx2" in want:
            expect(got == want["avx2"], f"{level}: {got}, avx2 {want['avx2']}")
        lines.append(f"{level} NLL {got[0]:.6f}, {got[0] - base[0]:+.6f}")
    return ", ".join(lines)


def check_emulated(models, folder):
    """Blocks in f32 against the expected values, and in the storage type against the CPU's; the same bits for every schedule
    of the emulator, and for parts of the tokens."""
    want = read_tensors(folder / "expected.safetensors")
    layers = sorted({int(name.split(".")[1]) for name in want if name.startswith("moe.")})
    expect(layers, "no MoE block")
    chosen, gpu = "--layers=" + ",".join(map(str, layers)), ("--target=cuda", "--run-on=host")
    exact = models.compile(folder, "--numerics=f32", chosen, *gpu)
    storage, host = models.compile(folder, chosen, *gpu), models.compile(folder, chosen)
    worst = 0.0
    for layer in layers:
        (tokens, hidden), values = want[f"moe.{layer}.input"]

        def run(program, first=0, last=tokens):
            part = {"hidden": ([last - first, hidden], values[first * hidden : last * hidden])}
            return models.run(program, part, "--entry", f"moe.{layer}")

        check_block(models, exact, layer, want)
        for program in (exact, storage):
            seen = []
            for seed in "012":
                os.environ["MOE_GPU_SEED"] = seed
                seen.append(run(program))
            os.environ.pop("MOE_GPU_SEED")
            expect(all(result == seen[0] for result in seen), f"moe.{layer}: different results over schedules")
            for first, last in ((0, 1), (1, tokens // 2), (tokens // 2, tokens)):
                for name, (shape, part) in run(program, first, last).items():
                    each = len(seen[0][name][1]) // tokens
                    expect(part == seen[0][name][1][first * each : last * each],
                           f"moe.{layer}: {name}: other bits for tokens {first} to {last} alone")
        got, reference = seen[0], run(host)
        expect(got["topk_index"] == reference["topk_index"], f"moe.{layer}: other experts than on the CPU")
        error = relative_error(got["hidden"][1], reference["hidden"][1])
        worst = max(worst, error)
        expect(error <= STORAGE, f"moe.{layer}: in the storage type off by {error:.1e} from the CPU")
    return f"blocks {layers} on the emulator, storage type within {worst:.1e} of the CPU"


def check_emulated_sample(models, model, text):
    """A window of text and greedy tokens of the whole model, against the CPU's; the same bits for one token at a time."""
    device, host = models.compile(model, "--target=cuda", "--run-on=host"), models.compile(model)
    # 1, a few and many rows for each expert: kernels of both shapes.
    block = [models.compile(model, "--layers=1", *flags) for flags in (("--target=cuda", "--run-on=host"), ())]
    worst = 0.0
    for tokens in (0, 1, 15, 300):
        values = array.array("f", [((i * 7919 + 13) % 257 - 128) / 64 for i in range(tokens * 128)])
        got, want = (models.run(program, {"hidden": ([tokens, 128], values)}) for program in block)
        expect(got["topk_index"] == want["topk_index"], f"{tokens} tokens: other experts than on the CPU")
        worst = max(worst, relative_error(got["hidden"][1], want["hidden"][1]))
    expect(worst <= STORAGE, f"block off by {worst:.1e} from the CPU")
    prompt = [514, 786]
    texts = [models.generate(program, prompt, 8) for program in (device, host)]
    expect(texts[0] == texts[1], f"greedy text {texts[0]}, on the CPU {texts[1]}")
    score = lambda program, *more: json.loads(models.call(program, "score", text, "--window", 128, "--json", *more))["files"][0]
    # Few tokens, each of which may meet a rounding on the other side of a tie.
    whole, parts, want = score(device), score(device, "--chunk", 50), score(host)
    expect(whole["nll"] == parts["nll"], f"NLL {whole['nll']}, in chunks {parts['nll']}")
    expect(abs(whole["nll"] - want["nll"]) <= 0.02, f"NLL {whole['nll']}, on the CPU {want['nll']}")
    return f"block within {worst:.1e}, NLL {whole['nll']:.4f}, on the CPU {want['nll']:.4f}"


# Tokens of a MoE block, and kernels it may take: the gate and the plan are one where one block of threads routes all tokens, and
# one token's second product combines. With int8 the same: codes of activations are made by the gate and by the second product.
LAUNCHES = {(): {1: 3, 16: 4, 17: 5, 4096: 5}, ("--quantize=int8",): {1: 3, 16: 4, 17: 5, 300: 5}}


def check_launches(models, model):
    """Counts launches; and the first token's bits depend neither on how many come behind it nor on the schedule."""
    return "; ".join(count_launches(models, model, flags, launches) for flags, launches in LAUNCHES.items())


def count_launches(models, model, flags, launches):
    program = models.compile(model, "--layers=0", "--target=cuda", "--run-on=host", *flags)
    counters, seen, lines = models.work / "counters.json", set(), []
    for tokens, most in launches.items():
        values = array.array("f", [((i * 7919 + 13) % 257 - 128) / 64 for i in range(tokens * 128)])
        for seed in "012" if tokens < 100 else "0":
            counters.unlink(missing_ok=True)
            os.environ.update(MOE_GPU_SEED=seed, MOE_GPU_COUNTERS=str(counters))
            got = models.run(program, {"hidden": ([tokens, 128], values)})
            os.environ.pop("MOE_GPU_SEED"), os.environ.pop("MOE_GPU_COUNTERS")
            seen.add(tuple(values[: len(values) // tokens].tobytes() for _, values in (got[name] for name in sorted(got))))
            kernels = [json.loads(line)["kernel"] for line in counters.read_text().splitlines()]
            expect(len(kernels) == most, f"{tokens} tokens: {len(kernels)} launches, expected {most}: {', '.join(kernels)}")
        lines.append(f"{tokens} tokens {most}")
    expect(len(seen) == 1, f"{len(seen)} different results for the first token")
    return " ".join(("launches for", ", ".join(lines), *flags))


# By how much the mean NLL (nats per token) may change from the checkpoint's own weights, and by how much it may differ
# between two ways to compute the same: those differ in the order of f32 sums, which may move a rounding.
FORMATS = {"int8": 0.005, "int4": 0.03, "mxfp4": 0.04}
SAME = 0.002


def check_quantized(models, model, text):
    score = lambda program, *more: json.loads(models.call(program, "score", text, "--json", *more))["files"][0]["nll"]
    plain, lines = score(models.compile(model)), []
    for experts, others in [(name, None) for name in FORMATS] + [("int4", "int8")]:
        flags = [f"--quantize={experts}"] + ([f"--quantize-others={others}"] if others else [])
        program, name = models.compile(model, *flags), experts + (f", others {others}" if others else "")
        info = json.loads(models.call(program, "info", "--json"))
        expect(info["quantization"] == {"experts": experts, "others": others}, f"{name}: info says {info['quantization']}")
        changed = {level: score(program, "--isa", level) - plain for level in info["isa_available"]}
        bound = FORMATS[experts] + (FORMATS[others] if others else 0)
        for level, change in changed.items():
            expect(abs(change) <= bound, f"{name}, {level}: NLL changed by {change:+.4f}")
        reference = score(models.compile(model, "--reference", *flags)) - plain
        worst = max(abs(change - reference) for change in changed.values())
        expect(worst <= SAME, f"{name}: levels differ from the reference lowering by {worst:.4f}: {changed}, {reference}")
        lines.append(f"{name} {reference:+.4f}")
    return f"NLL {plain:.4f}, changed by " + ", ".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["golden", "sample", "same-bits", "levels", "foreign", "quantized", "emulated",
                                         "emulated-sample", "launches"])
    parser.add_argument("paths", nargs="+", type=pathlib.Path)
    parser.add_argument("--tools", required=True)
    parser.add_argument("--work", required=True)
    parser.add_argument("--flag", action="append", default=[])
    parser.add_argument("--runner", type=shlex.split, default=[])
    options = parser.parse_args()
    models = Models(options.tools, options.work, options.flag, options.runner)
    checks = {
        "golden": [(check_golden, (folder,)) for folder in options.paths],
        "sample": [(check_sample, tuple(options.paths))],
        "same-bits": [(check_same_bits, tuple(options.paths))],
        "foreign": [(check_foreign, tuple(options.paths))],
        "quantized": [(check_quantized, tuple(options.paths))],
        "emulated": [(check_emulated, (folder,)) for folder in options.paths],
        "emulated-sample": [(check_emulated_sample, tuple(options.paths))],
        "launches": [(check_launches, tuple(options.paths))],
        "levels": [(check_levels, (folder,)) for folder in options.paths],
    }[options.what]
    bad = 0
    for check, arguments in checks:
        name = arguments[0].name
        try:
            print(f"{name}: {check(models, *arguments)}")
        except Wrong as why:
            bad += 1
            print(f"{name}: WRONG: {why}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
