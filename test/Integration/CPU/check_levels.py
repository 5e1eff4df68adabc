#!/usr/bin/env python3
"""Products of bf16 at all instruction-set levels: check_levels.py PROGRAM.mlir --tools DIR --work DIR [--arm COMMAND]
[--quantize FORMAT].

Compiles the program once for all levels and the emulated level amx, and runs each function over ragged groups. The weights
are random; a run with unit rows reads them back, so that an oracle in f64 can be had. Checked: the error of every level
against the oracle, levels that must have the same bits, and that the bits of a row do not depend on the other rows.
With --quantize: of codes, which have a scale for each group of weights. With --arm: the levels of 64-bit Arm, their program run by COMMAND, beside few of this machine.
"""
import argparse
import array
import json
import math
import pathlib
import random
import shlex
import struct
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from tensors import read_tensors, write_tensors

# Name of a function: depth, columns, number of weights. "deep" is done in blocks of K.
FUNCTIONS = {"k64": (64, 96, 1), "k80": (80, 80, 1), "k33": (33, 97, 1), "k7": (7, 16, 1), "pair": (96, 48, 2), "deep": (2080, 48, 1)}
GROUPS = 3
# Rows of the groups: around the blocks and tiles of the kernels, empty groups, all rows in one.
SIZES = [(0, 0, 0), (1, 0, 0), (0, 15, 1), (16, 17, 2), (4, 0, 5), (31, 32, 33), (0, 300, 0), (3, 12, 47)]


def bf16(value):
    """The nearest bf16 below in magnitude."""
    return struct.unpack("<f", struct.pack("<I", struct.unpack("<I", struct.pack("<f", value))[0] & 0xFFFF0000))[0]


class Program:
    """An executable with the code of `levels`."""

    def __init__(self, source, levels, options, runner=()):
        self.path, self.work, self.runner = options.work / levels[0], options.work, runner
        subprocess.run([options.tools / "moe-compile", source, "-o", self.path, "--weights=random:5",
                        "--cpu=" + ",".join(levels)] + (["--quantize", options.quantize] if options.quantize else []), check=True)
        command = [*runner, self.path, "info", "--json"]
        info = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        self.available = info["isa_available"]
        self.missing = [level for level in info["isa_levels"] if level not in self.available]

    def run(self, entry, level, rows, depth, sizes, choices, threads=2):
        offsets = [sum(sizes[:e]) for e in range(GROUPS + 1)]
        write_tensors(self.work / "in.safetensors", {
            "x": ([len(rows), depth], array.array("f", [v for row in rows for v in row])),
            "groups": ([GROUPS + 1], array.array("i", offsets)),
            "choices": ([len(choices)], array.array("i", choices)),
        })
        subprocess.run([*self.runner, self.path, "run", "--entry", entry, "--isa", level, "--threads", str(threads), "--input",
                        self.work / "in.safetensors", "--output", self.work / "out.safetensors"], check=True)
        (_, columns), values = read_tensors(self.work / "out.safetensors")["y"]
        return [values[i * columns : (i + 1) * columns] for i in range(len(choices))]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("source", type=pathlib.Path)
    parser.add_argument("--tools", required=True, type=pathlib.Path)
    parser.add_argument("--work", required=True, type=pathlib.Path)
    parser.add_argument("--arm", type=shlex.split)
    parser.add_argument("--quantize")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    everything = ["amx", "avx512bf16", "avx512", "avx2", "x86-64", "amx-emulated"]
    made = [Program(options.source, ["avx2", "x86-64"] if options.arm else everything, options)]
    if options.arm:
        made.append(Program(options.source, ["aarch64-bf16", "aarch64"], options, options.arm))
    programs = {level: program for program in made for level in program.available}
    levels = list(programs)
    print("not on this machine:", ", ".join(level for program in made for level in program.missing) or "none")

    wrong, errors, generator = [], {level: {} for level in levels}, random.Random(3)
    for entry, (depth, columns, weights) in FUNCTIONS.items():
        results = {}
        if weights == 1:
            unit = [[float(i == k) for k in range(depth)] for i in range(depth)]
            matrix = [list(zip(*programs["x86-64"].run(entry, "x86-64", unit, depth, [depth if g == e else 0 for g in range(GROUPS)],
                                            range(depth)))) for e in range(GROUPS)]
        for sizes in SIZES:
            count = sum(sizes)
            rows = [[bf16(generator.uniform(-1, 1)) for _ in range(depth)] for _ in range(max(count, 1))]
            choices = list(range(count))
            generator.shuffle(choices)
            choices = [-1 if i % 11 == 10 else choice for i, choice in enumerate(choices)]
            for level in levels:
                got = programs[level].run(entry, level, rows, depth, sizes, choices)
                results[level] = results.get(level, b"") + b"".join(row.tobytes() for row in got)
                if weights > 1:
                    continue
                for r in random.Random(count).sample(range(count), min(count, 9)):
                    group = next(e for e in range(GROUPS) if r < sum(sizes[: e + 1]))
                    x = rows[choices[r]] if choices[r] >= 0 else [0.0] * depth
                    for n in range(0, columns, 3):
                        terms = [a * b for a, b in zip(x, matrix[group][n])]
                        error = abs(got[r][n] - math.fsum(terms)) / (sum(map(abs, terms)) or 1.0)
                        errors[level][entry] = max(errors[level].get(entry, 0.0), error if error == error else math.inf)
            # A row alone, and two, on one thread, have the bits they have among others.
            if sizes == (31, 32, 33):
                for level in levels:
                    among = programs[level].run(entry, level, rows, depth, sizes, choices)
                    for r, alone in ((5, (1, 0, 0)), (40, (0, 1, 0)), (95, (0, 0, 1))):
                        if programs[level].run(entry, level, rows, depth, alone, [choices[r]], 1)[0] != among[r]:
                            wrong.append(f"{entry}: {level}: row {r} alone differs")
                    if programs[level].run(entry, level, rows, depth, (0, 2, 0), choices[40:42], 1) != among[40:42]:
                        wrong.append(f"{entry}: {level}: rows 40 and 41 by themselves differ")
        for same in (("amx", "amx-emulated"), ("avx512", "avx2", "aarch64")):
            if len({results[level] for level in same if level in results}) > 1:
                wrong.append(f"{entry}: {' and '.join(same)} differ in bits")
    for level in levels:
        each = ", ".join(f"{entry} {error:.1e}" for entry, error in errors[level].items())
        print(f"{level}: error against the f64 oracle, of the sum of magnitudes: {each}")
        if not max(errors[level].values()) < 2e-6:
            wrong.append(f"{level}: too large an error")
    print("\n".join(wrong) if wrong else "all products agree")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
