"""Prints a program that compares moe.gaussian with a second implementation of Philox4x32-10 and Box-Muller.

The implementation here is first checked against the known answers published with Random123 (kat_vectors).
"""
import math
import struct

MASK = 0xFFFFFFFF


def philox(counter, key):
    c, k = list(counter), list(key)
    for _ in range(10):
        p, q = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(q >> 32) ^ c[1] ^ k[0], q & MASK, (p >> 32) ^ c[3] ^ k[1], p & MASK]
        k = [(k[0] + 0x9E3779B9) & MASK, (k[1] + 0xBB67AE85) & MASK]
    return c


KNOWN = [
    ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    ([MASK] * 4, [MASK] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
    ([0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344], [0xA4093822, 0x299F31D0],
     [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1]),
]
for counter, key, words in KNOWN:
    assert philox(counter, key) == words


def f32(value):
    return struct.unpack("f", struct.pack("f", value))[0]


def gaussian(row, column, seed, stream):
    words = philox([row & MASK, row >> 32 & MASK, column // 4, stream & MASK], [seed & MASK, seed >> 32 & MASK])
    lane = column % 4
    u = f32(f32(words[lane // 2 * 2] + 1) * 2.0**-32)
    angle = f32(f32(f32(words[lane // 2 * 2 + 1]) * 2.0**-32) * f32(2 * math.pi))
    return math.sqrt(-2 * math.log(u)) * (math.cos(angle) if lane % 2 == 0 else math.sin(angle))


# Row ids, their type, columns, seed, stream. The first is the first known answer; the others set every word of counter and key.
CASES = [
    ([0], "i64", 4, 0, 0),
    ([-1, 0x85A308D3243F6A88 - 2**64, 7], "i64", 9, 0x299F31D0A4093822, 0x03707344),
    ([-1, 0, 5, 2147483647], "i32", 3, -1, 0xFFFFFFFF),
    ([1, 2], "i64", 1, 42, 3),
]
print("func.func @main() {")
for number, (ids, kind, columns, seed, stream) in enumerate(CASES):
    rows = len(ids)
    wanted = [[gaussian(row, n, seed, stream) for n in range(columns)] for row in ids]
    text = ", ".join("[" + ", ".join(f"{v:.9e}" for v in row) + "]" for row in wanted)
    print(f"  %ids{number} = arith.constant dense<{ids}> : tensor<{rows}x{kind}>")
    print(f"  %noise{number} = moe.gaussian rows(%ids{number}) {{seed = {seed}, stream = {stream}}}"
          f" : tensor<{rows}x{kind}> -> tensor<{rows}x{columns}xf32>")
    print(f"  check.expect_almost_eq_const %noise{number}, dense<[{text}]> : tensor<{rows}x{columns}xf32> {{tolerance = 2.0e-6 : f64}}")
print("  return\n}")
