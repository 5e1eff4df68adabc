#!/usr/bin/env python3
"""The layer of custom_gate.mlir in plain Python, to compare with (needs no packages).

custom_gate.py write IN.safetensors [TOKENS [SEED]]     random inputs for `run` (default: 3 tokens, seed 1)
custom_gate.py compare IN.safetensors OUT.safetensors   what `run` made of them, next to what Python makes of them
"""
import json
import math
import random
import struct
import sys

HIDDEN, EXPERTS, CHOICES, INNER = 8, 4, 2, 16


def read(path):
    """Name -> (shape, values) of a safetensors file of F32 and I32 tensors."""
    with open(path, "rb") as file:
        raw = file.read()
    size, = struct.unpack("<Q", raw[:8])
    tensors = {}
    for name, info in json.loads(raw[8:8 + size]).items():
        if name != "__metadata__":
            begin, end = info["data_offsets"]
            code = {"F32": "f", "I32": "i"}[info["dtype"]]
            tensors[name] = info["shape"], list(struct.unpack(f"<{(end - begin) // 4}{code}", raw[8 + size + begin:8 + size + end]))
    return tensors


def write(path, tokens="3", seed="1"):
    tokens, rng = int(tokens), random.Random(int(seed))
    header, body = {}, b""
    for name, shape in (("hidden", [tokens, HIDDEN]), ("router", [EXPERTS, HIDDEN]), ("bias", [EXPERTS]),
                        ("up", [EXPERTS, INNER, HIDDEN]), ("down", [EXPERTS, HIDDEN, INNER])):
        data = struct.pack(f"<{math.prod(shape)}f", *(rng.uniform(-1, 1) for _ in range(math.prod(shape))))
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(head)) + head + body)


def times(matrix, vector):
    """matrix [out, in], as a flat list, times vector."""
    return [sum(matrix[n * len(vector) + k] * v for k, v in enumerate(vector)) for n in range(len(matrix) // len(vector))]


def layer(tensors):
    """Experts, weights and output per token."""
    hidden, router, bias, up, down = (tensors[name][1] for name in ("hidden", "router", "bias", "up", "down"))
    for t in range(len(hidden) // HIDDEN):
        x = hidden[t * HIDDEN:(t + 1) * HIDDEN]
        scores = [1 / (1 + math.exp(-z)) for z in times(router, x)]
        experts = sorted(range(EXPERTS), key=lambda e: (-(scores[e] + bias[e]), e))[:CHOICES]
        weights = [math.sqrt(scores[e]) for e in experts]
        out = [0.0] * HIDDEN
        for e, w in zip(experts, weights):
            inner = [max(v, 0) for v in times(up[e * INNER * HIDDEN:(e + 1) * INNER * HIDDEN], x)]
            y = times(down[e * HIDDEN * INNER:(e + 1) * HIDDEN * INNER], inner)
            out = [o + w * v for o, v in zip(out, y)]
        yield experts, weights, out


def compare(given, got):
    given, got = read(given), read(got)
    worst = 0.0
    for t, (experts, weights, out) in enumerate(layer(given)):
        rows = [got[name][1][t * n:(t + 1) * n] for name, n in (("topk_index", CHOICES), ("topk_weight", CHOICES), ("hidden", HIDDEN))]
        if rows[0] != experts:
            sys.exit(f"token {t}: experts {rows[0]} but Python selects {experts}")
        worst = max([worst] + [abs(a - b) for a, b in zip(rows[1] + rows[2], weights + out)])
        print(f"token {t}: experts {experts[0]} and {experts[1]}, weights {rows[1][0]:.4f} and {rows[1][1]:.4f}")
    if not worst < 1e-5:
        sys.exit(f"outputs differ from Python's by {worst:.1e}")
    print("outputs equal Python's")


if __name__ == "__main__":
    if len(sys.argv) in (3, 4, 5) and sys.argv[1] == "write":
        write(*sys.argv[2:])
    elif len(sys.argv) == 4 and sys.argv[1] == "compare":
        compare(*sys.argv[2:])
    else:
        sys.exit(__doc__)
