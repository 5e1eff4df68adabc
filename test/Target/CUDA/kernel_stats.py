#!/usr/bin/env python3
"""What the machine code of kernels says of their quality.

    kernel_stats.py FILE.cubin [--nvdisasm PROGRAM] [--threads N] [--require 'KERNELS: FIGURE <= NUMBER']...
                    [--requirements FILE] [--without TEXT]

Prints a line of figures for each kernel, and the requirements that do not hold; then the exit status is 1. KERNELS is `all`
or a condition like the requirement itself ('mma >= 64'), and one kernel at least must be meant. A file has one requirement
on each line, and comments behind '#'. Kernels with TEXT in their names are left out. Figures of a kernel:

    registers       of a thread
    shared          bytes of static shared memory
    blocks          that a multiprocessor holds by registers and shared memory, with blocks of --threads threads (128)
    instructions    of the whole kernel
    local           accesses to local memory: spilled registers, arrays that are not in registers
    store_bytes     bytes that a thread stores at once to global memory, the most of all stores

and of the loop with the most matrix products (of an inner loop, if it has as many), where there is one:

    loop            instructions
    loop_local      accesses to local memory
    mma, ldmatrix, async_copies, barriers    instructions of these kinds
    wgmma           products of a warpgroup (sm_90a); these are not counted as mma
    global_loads    that wait for memory
    instructions_per_mma, ldmatrix_per_mma, instructions_per_wgmma
    copy_bytes      of an asynchronous copy, the least
    barrier_to_mma  instructions from a barrier to the next product, the most
    pending_copies  groups of copies that the loop leaves in flight, the least
    pending_wgmma   groups of products of a warpgroup that it leaves in flight, the least

A loop runs from the target of a branch backwards to that branch; what is branched around inside of it counts.
"""
import argparse
import collections
import operator
import pathlib
import re
import subprocess
import sys

# Registers of a multiprocessor and shared memory that its blocks may have together, each with 1 KiB of the system's, which
# is part of the kernel's own from sm_90 on.
REGISTERS, SYSTEM_SHARED = 64 * 1024, {"sm_80": 1024, "sm_86": 1024, "sm_89": 1024}
SHARED = {"sm_80": 164, "sm_86": 100, "sm_89": 100, "sm_90": 228, "sm_100": 228, "sm_120": 100}  # KiB
MOST_BLOCKS = {"sm_80": 32, "sm_86": 16, "sm_89": 24, "sm_90": 32, "sm_100": 32, "sm_120": 24}
MOST_THREADS = {"sm_80": 2048, "sm_86": 1536, "sm_89": 1536, "sm_90": 2048, "sm_100": 2048, "sm_120": 1536}

SECTION = re.compile(r'\s*\.section\s+\.(text|nv\.shared)\.([\w$.]+)')
INSTRUCTION = re.compile(r"\s*/\*([0-9a-f]+)\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)(.*?);")
LABEL = re.compile(r"(\.L\w+):")
REGISTER_COUNT = re.compile(r"EIATTR_REGCOUNT.*?index@\(([\w$.]+)\)\n.*?\.word\s+0x(\w+)", re.DOTALL)
COMPARE = {"<=": operator.le, ">=": operator.ge, "==": operator.eq}

Instruction = collections.namedtuple("Instruction", "address name operands")


class Kernel:
    def __init__(self):
        self.registers, self.shared = 0, 0
        self.code, self.labels = [], {}


def parse(text):
    """The architecture and the kernels in what nvdisasm prints."""
    kernels, kernel, shared = collections.defaultdict(Kernel), None, None
    architecture = re.search(r"\.target\s+(sm_\d+)", text)[1]
    waiting = []
    for line in text.splitlines():
        if section := SECTION.match(line):
            kernel = kernels[section[2]] if section[1] == "text" else None
            shared = kernels[section[2]] if section[1] == "nv.shared" else None
        elif re.match(r"\s*\.section\s", line):
            kernel = shared = None
        elif shared and (size := re.match(r"\s*\.zero\s+(\d+)", line)):
            shared.shared += int(size[1])
        elif kernel and (label := LABEL.match(line)):
            waiting.append(label[1])
        elif kernel and (found := INSTRUCTION.match(line)):
            address = int(found[1], 16)
            kernel.labels.update((label, address) for label in waiting)
            waiting.clear()
            kernel.code.append(Instruction(address, found[2], found[3]))
    for name, count in REGISTER_COUNT.findall(text):
        kernels[name].registers = int(count, 16)
    return architecture, {name: kernel for name, kernel in kernels.items() if kernel.code}


def is_kind(*prefixes):
    return lambda instruction: instruction.name.split(".")[0] in prefixes


is_mma = is_kind("HMMA", "IMMA", "QMMA", "OMMA")
is_wgmma = is_kind("HGMMA", "IGMMA", "QGMMA")
is_product = lambda instruction: is_mma(instruction) or is_wgmma(instruction)
is_barrier = lambda instruction: instruction.name.startswith("BAR.SYNC")
is_copy = is_kind("LDGSTS")


def width(instruction):
    """Bytes for each lane of a load or store."""
    sizes = {"U8": 1, "S8": 1, "U16": 2, "S16": 2, "64": 8, "128": 16, "256": 32}
    return next((sizes[part] for part in instruction.name.split(".") if part in sizes), 4)


def loops(kernel):
    for at in kernel.code:
        target = re.search(r"`\((\.L\w+)\)", at.operands) if at.name.split(".")[0] == "BRA" else None
        begin = kernel.labels.get(target[1]) if target else None
        if begin is not None and begin < at.address:
            yield [inner for inner in kernel.code if begin <= inner.address <= at.address]


def to_next(body, first, second):
    """Instructions between one of `first` and the next of `second`, the most; the body is a circle."""
    twice, most = body + body, 0
    for begin, instruction in enumerate(body):
        if first(instruction):
            most = max(most, next(i for i, other in enumerate(twice[begin + 1 :]) if second(other)))
    return most


def figures(kernel, architecture, threads):
    per_warp = -(-kernel.registers * 32 // 256) * 256
    blocks = [REGISTERS // (per_warp * threads // 32), MOST_THREADS[architecture] // threads, MOST_BLOCKS[architecture],
              SHARED[architecture] * 1024 // max(kernel.shared + SYSTEM_SHARED.get(architecture, 0), 1)]
    count = lambda body, kind: sum(map(kind, body))
    result = {
        "registers": kernel.registers,
        "shared": kernel.shared,
        "blocks": min(blocks),
        "instructions": len(kernel.code),
        "local": count(kernel.code, is_kind("LDL", "STL")),
        "store_bytes": max((width(at) for at in kernel.code if at.name.startswith("STG")), default=0),
    }
    # Of several loops with as many products the shortest: no loop around it.
    body = max(loops(kernel), key=lambda body: (count(body, is_product), -len(body)), default=[])
    mma, wgmma = count(body, is_mma), count(body, is_wgmma)
    if mma + wgmma == 0:
        return result
    waits = lambda name: min((int(at.operands.split(",")[1], 16) for at in body if at.name == name), default=0)
    result |= {
        "loop": len(body),
        "loop_local": count(body, is_kind("LDL", "STL")),
        **({"mma": mma} if mma else {"wgmma": wgmma}),
        "ldmatrix": count(body, is_kind("LDSM")),
        "async_copies": count(body, is_copy),
        "barriers": count(body, is_barrier),
        "global_loads": count(body, is_kind("LDG", "LD")),
        **({"instructions_per_mma": round(len(body) / mma, 2),
            "ldmatrix_per_mma": round(count(body, is_kind("LDSM")) / mma, 2)} if mma
           else {"instructions_per_wgmma": round(len(body) / wgmma, 2)}),
        "copy_bytes": min((width(at) for at in body if is_copy(at)), default=0),
        "barrier_to_mma": to_next(body, is_barrier, is_product),
        "pending_copies": waits("DEPBAR.LE"),
        **({"pending_wgmma": waits("WARPGROUP.DEPBAR.LE")} if wgmma else {}),
    }
    return result


def holds(condition, values):
    """Whether 'FIGURE <= NUMBER' is true; not where there is no such figure."""
    parts = re.fullmatch(r"(\w+) (<=|>=|==) ([\d.]+)", condition)
    if not parts:
        sys.exit(f"error: expected 'FIGURE <= NUMBER' but got '{condition}'")
    return parts[1] in values and COMPARE[parts[2]](values[parts[1]], float(parts[3]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cubin")
    parser.add_argument("--nvdisasm", default="nvdisasm")
    parser.add_argument("--threads", type=int, default=128)
    parser.add_argument("--require", action="append", default=[])
    parser.add_argument("--requirements", type=pathlib.Path)
    parser.add_argument("--without")
    options = parser.parse_args()
    if options.requirements:
        lines = (line.partition("#")[0].strip() for line in options.requirements.read_text().splitlines())
        options.require += filter(None, lines)
    done = subprocess.run([options.nvdisasm, options.cubin], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{options.nvdisasm}: {done.stderr.strip()}")
    architecture, kernels = parse(done.stdout)
    known = {name: figures(kernel, architecture, options.threads) for name, kernel in sorted(kernels.items())
             if not options.without or options.without not in name}
    for name, values in known.items():
        print(f"{architecture} {name}: " + ", ".join(f"{key} {value}" for key, value in values.items()))
    bad = 0
    for text in options.require:
        kernels, _, requirement = text.partition(": ")
        chosen = [name for name in known if kernels == "all" or holds(kernels, known[name])]
        if not chosen:
            print(f"error: no kernel with {kernels}")
            bad += 1
        for name in chosen:
            if not holds(requirement, known[name]):
                print(f"error: {name}: expected {requirement} but got {known[name].get(requirement.split()[0])}")
                bad += 1
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
