#!/usr/bin/env python3
"""Checks attention in GPU kernels, run by the kernel emulator.

    check_attention.py CASE... --tools DIR --work DIR [--seeds 0,1]

CASE is TYPE:DEPTH:QUERY_HEADS:KEY_HEADS:WINDOW (bf16 or f16; 0: no window). A program of one moe.attention is compiled, and called
with numbers of queries and lengths around those of tiles (64 keys, 64 rows, 16 rows) and chunks of keys (256). Results have to be near
float64's, the same bits under all schedules of the emulator, the same if the queries come in parts: by the kernel for
many rows and the one for few; and the same if a GPU has too few multiprocessors to share chunks among blocks. Positions that no query may see hold NaN. Tensor cores must have done it.
"""
import argparse
import array
import json
import math
import os
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from tensors import read_tensors, write_tensors

SCALE = 0.25
# Weights have 16 bits or more, everything else is f32; values are at most 1.
ERROR = 2.0**-15
# Sequences, queries, capacity, past; and where the queries are cut into parts.
CALLS = [(1, 1, 64, 0, []), (2, 1, 70, 65, []), (1, 70, 131, 60, [1, 2, 35]), (1, 5, 300, 290, [1]), (2, 17, 20, 0, [16]),
         (2, 2, 800, 700, [1]), (1, 20, 560, 506, [6, 7]), (1, 1, 2400, 2370, [])]

PROGRAM = """
func.func @main(%q: tensor<?x?x{heads}x{depth}x{type}> {{moe.name = "query"}}, %k: tensor<?x?x{groups}x{depth}x{type}> {{moe.name = "keys"}},
                %v: tensor<?x?x{groups}x{depth}x{type}> {{moe.name = "values"}}, %past: tensor<i64> {{moe.name = "past"}})
    -> (tensor<?x?x{heads}x{depth}xf32> {{moe.name = "out"}}) {{
  %number = tensor.extract %past[] : tensor<i64>
  %position = arith.index_cast %number : i64 to index
  %y = moe.attention %q, %k, %v past(%position) {{scale = {scale} : f32{window}}}
      : tensor<?x?x{heads}x{depth}x{type}>, tensor<?x?x{groups}x{depth}x{type}>, tensor<?x?x{groups}x{depth}x{type}>
      -> tensor<?x?x{heads}x{depth}xf32>
  return %y : tensor<?x?x{heads}x{depth}xf32>
}}
"""


class Wrong(Exception):
    pass


def expect(condition, text):
    if not condition:
        raise Wrong(text)


def numbers(count, factor):
    """Different from place to place, in [-1, 1], and exact in 8 bits."""
    return [((i * factor + i // 7 * 31) % 129 - 64) / 64 for i in range(count)]


class Case:
    def __init__(self, text, options):
        kind, *sizes = text.split(":")
        self.depth, self.heads, self.groups, self.window = map(int, sizes)
        self.options, self.folder = options, options.work / text.replace(":", "-")
        self.folder.mkdir(parents=True, exist_ok=True)
        window = f", window = {self.window} : i64" if self.window else ""
        source = self.folder / "attention.mlir"
        source.write_text(PROGRAM.format(heads=self.heads, groups=self.groups, depth=self.depth, type=kind, scale=SCALE, window=window))
        self.program = self.folder / "program"
        self.call([pathlib.Path(options.tools) / "moe-compile", source, "--target=cuda", "--run-on=host", "-o", self.program])

    def call(self, command, **environment):
        done = subprocess.run(list(map(str, command)), env={**os.environ, **environment}, capture_output=True, text=True)
        expect(done.returncode == 0, f"{' '.join(map(str, command))}: status {done.returncode}: {done.stderr.strip()}")

    def run(self, query, keys, values, past, seed, multiprocessors=4):
        """The results of all sequences, rows of a query's heads; and the matrix products of each launch."""
        counters = self.folder / "counters.json"
        counters.unlink(missing_ok=True)
        tensor = lambda x, heads: ([len(x), len(x[0]), heads, self.depth], array.array("f", sum(sum(x, []), [])))
        write_tensors(self.folder / "in.safetensors",
                      {"query": tensor(query, self.heads), "keys": tensor(keys, self.groups),
                       "values": tensor(values, self.groups), "past": ([], array.array("q", [past]))})
        self.call([self.program, "run", "--input", self.folder / "in.safetensors", "--output", self.folder / "out.safetensors"],
                  MOE_GPU_SEED=str(seed), MOE_GPU_COUNTERS=str(counters), MOE_GPU_MULTIPROCESSORS=str(multiprocessors))
        flat = read_tensors(self.folder / "out.safetensors")["out"][1]
        launches = [json.loads(line) for line in counters.read_text().splitlines()]
        width, count = self.heads * self.depth, len(query[0])
        rows = [[flat[(b * count + s) * width : (b * count + s + 1) * width] for s in range(count)] for b in range(len(query))]
        return rows, {launch["kernel"]: launch["counters"] for launch in launches if "attention" in launch["kernel"]}

    def formula(self, query, keys, values, position):
        """In float64: the row of one query's heads."""
        first = max(0, position - self.window + 1) if self.window else 0
        out = []
        for head in range(self.heads):
            group = head // (self.heads // self.groups)
            part = lambda row, at: row[at * self.depth : (at + 1) * self.depth]
            scores = [SCALE * math.fsum(a * b for a, b in zip(part(query, head), part(keys[p], group)))
                      for p in range(first, position + 1)]
            weights = [math.exp(score - max(scores)) for score in scores]
            columns = zip(*(part(values[p], group) for p in range(first, position + 1)))
            out += [math.fsum(w * v for w, v in zip(weights, column)) / math.fsum(weights) for column in columns]
        return out

    def check(self):
        worst, kernels = 0.0, set()
        for batch, count, capacity, past, cuts in CALLS:
            where = f"{batch} x {count} queries behind {past} positions"
            blocks = lambda number, heads, factor: [
                [numbers(heads * self.depth, factor + 2 * (7 * b + p)) for p in range(number)] for b in range(batch)]
            query, keys, values = blocks(count, self.heads, 37), blocks(capacity, self.groups, 11), blocks(capacity, self.groups, 53)
            nothing = [math.nan] * (self.groups * self.depth)
            for cache in keys + values:
                cache[past + count :] = [nothing] * (capacity - past - count)
            results = []
            for seed in self.options.seeds:
                got, counted = self.run(query, keys, values, past, seed)
                results.append(got)
                kernels |= set(counted)
                without = [name for name, launch in counted.items() if not launch["mma"]]
                split = any(name.endswith("_chunks") for name in counted)
                expect(len(counted) == 1 + split and len(without) == split and all(name.endswith("_combine") for name in without),
                       f"{where}: expected one kernel on tensor cores, or two if the second one combines, but got {list(counted)}")
                for name, launch in counted.items():
                    shared = launch["shared"]
                    conflicts = shared["wavefronts"] - shared["ideal_wavefronts"]
                    expect(conflicts == 0, f"{where}: {name} has {conflicts} bank conflicts")
            expect(all(got == results[0] for got in results), f"{where}: other bits under other schedules")
            got, counted = self.run(query, keys, values, past, self.options.seeds[0], multiprocessors=1)
            kernels |= set(counted)
            expect(got == results[0], f"{where}: other bits with one multiprocessor")
            want = [[self.formula(query[b][s], keys[b], values[b], past + s) for s in range(count)] for b in range(batch)]
            error = max(abs(g - w) if g == g else math.inf for some, other in zip(results[0], want)
                        for row, wanted in zip(some, other) for g, w in zip(row, wanted))
            expect(error <= ERROR, f"{where}: off by {error:.1e}")
            worst = max(worst, error)
            for first, last in zip([0] + cuts, cuts + [count]) if cuts else []:
                part = [rows[first:last] for rows in query]
                got, counted = self.run(part, keys, values, past + first, self.options.seeds[0])
                kernels |= set(counted)
                expect(got == [rows[first:last] for rows in results[0]], f"{where}: other bits for queries {first} to {last} alone")
        # The heads of a group share a block, which has 16 rows in the kernels for few. One of these does all chunks of
        # keys, two share them.
        expected = 4 if self.heads <= 16 * self.groups else 1
        expect(len(kernels) == expected, f"expected {expected} kernels, three for few rows and one for many, but got {kernels}")
        return f"within {worst:.1e} of float64, the same bits in parts"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="+")
    parser.add_argument("--seeds", type=lambda text: list(map(int, text.split(","))), default=[0, 1])
    parser.add_argument("--tools", required=True)
    parser.add_argument("--work", type=pathlib.Path, required=True)
    options = parser.parse_args()
    bad = 0
    for text in options.cases:
        try:
            print(f"{text}: {Case(text, options).check()}")
        except Wrong as why:
            bad += 1
            print(f"{text}: WRONG: {why}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
