#!/usr/bin/env python3
"""Checks what kernels of an executable do to memory, as the emulator counts it.

    check_counters.py PROGRAM --work FOLDER TOKENS:RATIO...

For each number of tokens: no bank conflicts, copies to shared memory use whole sectors (rows are gathered), tensor cores
multiply, and global memory moves at most RATIO times the bytes of weights and tensors that are needed once.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("tokens", nargs="+")
    parser.add_argument("--work", type=pathlib.Path, required=True)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    ratios = {int(tokens): float(ratio) for tokens, ratio in (text.split(":") for text in options.tokens)}
    launches = options.work / "launches.json"
    launches.unlink(missing_ok=True)
    command = [options.program, "bench", "--counters", "--json", "--tokens", ",".join(map(str, ratios))]
    done = subprocess.run(command, env={**os.environ, "MOE_GPU_COUNTERS": str(launches)}, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(done.stderr)
    bad = []
    for call in json.loads(done.stdout)["counters"]:
        where = f"{call['entry']}, {call['tokens']} tokens"
        ratio = call["moved_bytes"] / call["least_bytes"]
        print(f"{where}: {call['launches']} launches, {ratio:.3f} of the least bytes, {call['mma']} mma")
        if ratio > ratios[call["tokens"]]:
            bad.append(f"{where}: expected at most {ratios[call['tokens']]} of the least bytes but got {ratio:.3f}")
        # Whatever is read was there before, and every product needs weights.
        if call["moved_bytes"] < call["different_bytes"] or ratio < 0.9 or call["mma"] == 0:
            bad.append(f"{where}: counters contradict each other: {call}")
        bad += [f"{where}: {kernel['kernel']} has {kernel['bank_conflicts']} bank conflicts"
                for kernel in call["kernels"] if kernel["bank_conflicts"]]
        if sum(kernel["launches"] for kernel in call["kernels"]) != call["launches"]:
            bad.append(f"{where}: the launches are not those of the kernels")
    copies = 0
    for line in launches.read_text().splitlines():
        launch = json.loads(line)
        for site in launch["counters"]["sites"]:
            if "cp.async" not in site["operation"] or "global" not in site:
                continue
            counts = site["global"]
            copies += counts["requests"]
            if counts["sector_bytes_used"] != 32 * counts["sectors"]:
                bad.append(f"{launch['kernel']}: '{site['operation']}' uses {counts['sector_bytes_used']} bytes of "
                           f"{counts['sectors']} sectors")
    if copies == 0:
        bad.append("no asynchronous copies")
    print("\n".join(bad) if bad else f"{copies} requests of asynchronous copies, all of whole sectors; no bank conflicts")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
