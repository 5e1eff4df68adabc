#!/usr/bin/env python3
"""Runs reference cases of the moe ops: fills a program template, compiles it, runs it, compares every output.

    run_case.py FOLDER [PREFIX...] [--tools DIR] [--reference | --both | --emulated] [--tolerance X] [--fill-only] [--work DIR] [-v]

FOLDER holds <case>.json and <case>.safetensors (test/Inputs/ops). With prefixes only cases whose name starts with one of them
run, and it is an error if a prefix finds none. The templates are <op>*.mlir.in beside this script; each template of a case's op
is run. --both compiles by the default pipeline and by --reference, --emulated for a GPU that is the emulator. Exit status 0: all equal, 1: something differs or fails.

Templates: lines that start with //@ are directives, the rest is MLIR with placeholders @NAME@ or @EXPRESSION@ (integers).
    //@dims TENSOR = A B ..     names for the sizes of a tensor of the case
    //@let NAME = TEXT          a name; placeholders in TEXT are filled
    //@default NAME = TEXT      the same where the case has no such attribute
    //@include FILE             another file of this folder
    //@skip A, B: REASON        outputs that are not compared; said in the report
    //@if NAME | NAME == TEXT | NAME != TEXT, //@else, //@endif
NAME is an attribute of the case (nested: groups_count), a tensor of its inputs, <tensor>_rank, or defined before. A condition
NAME holds for an input, and for an attribute that is neither null nor false.
"""
import argparse
import json
import math
import pathlib
import re
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from tensors import read_tensors

PLACEHOLDER = re.compile(r"@([A-Za-z0-9_+*/-]+)@")


class Wrong(Exception):
    """A case cannot be run or gives something else; the text says what."""


# ---- templates
class Template:
    """Fills one template for one case; `skipped` collects the outputs it leaves out, with the reason."""

    def __init__(self, case, inputs):
        self.case, self.skipped = case, {}
        self.names = {name: True for name in inputs}
        self.names.update(flatten(case["attributes"]))
        described = {**case["inputs"], **case["outputs"]}
        self.shapes = {name: info["shape"] for name, info in described.items()}
        for name, shape in self.shapes.items():
            self.names[name + "_rank"] = len(shape)

    def fill(self, path):
        lines, active = [], [True]
        for number, line in enumerate(path.read_text().splitlines(), 1):
            where = f"{path.name}:{number}"
            directive = re.match(r"\s*//@(\w+)\s*(.*)", line)
            if not directive:
                if all(active):
                    lines.append(self.substitute(line, where))
                continue
            word, rest = directive.groups()
            if word == "if":
                active.append(all(active) and self.holds(rest))
            elif word == "else" and len(active) > 1:
                active[-1] = all(active[:-1]) and not active[-1]
            elif word == "endif" and len(active) > 1:
                active.pop()
            elif all(active):
                lines += self.obey(word, rest, path, where)
        if len(active) != 1:
            raise Wrong(f"{path.name}: //@if without //@endif")
        return lines

    def obey(self, word, rest, path, where):
        """Does what a directive says; returns the lines it stands for."""
        name, _, text = (part.strip() for part in rest.partition("="))
        if word == "dims":
            shape = self.shapes.get(name)
            if shape is None or len(shape) != len(text.split()):
                raise Wrong(f"{where}: expected sizes {text} of '{name}' but got {shape}")
            for dim, size in zip(text.split(), shape):
                if self.names.get(dim, size) != size:
                    raise Wrong(f"{where}: {dim} is {self.names[dim]} and {size}")
                self.names[dim] = size
        elif word == "let":
            self.names[name] = self.substitute(text, where)
        elif word == "default":
            self.names.setdefault(name, text)
        elif word == "include":
            return self.fill(path.parent / rest.strip())
        elif word == "skip":
            outputs, _, reason = rest.partition(":")
            self.skipped.update({output.strip(): reason.strip() for output in outputs.split(",")})
        else:
            raise Wrong(f"{where}: unknown directive {word}")
        return []

    def holds(self, condition):
        words = condition.split()
        value = self.names.get(words[0])
        if len(words) == 1:
            return value is not None and value is not False
        same = ("none" if value is None else str(value)) == words[2]
        return same == (words[1] == "==")

    def substitute(self, line, where):
        def value(match):
            text = match[1]
            if text in self.names:
                result = self.names[text]
            else:
                unknown = [w for w in re.findall(r"[A-Za-z_]\w*", text) if not isinstance(self.names.get(w), (int, float))]
                if unknown:
                    raise Wrong(f"{where}: nothing is called {', '.join(unknown)}")
                result = eval(text, {"__builtins__": {}}, dict(self.names))  # numbers, names of numbers and + - * / only
            return repr(float(result)) if isinstance(result, float) else str(result)

        return PLACEHOLDER.sub(value, line)


def flatten(attributes, prefix=""):
    names = {}
    for name, value in attributes.items():
        names[prefix + name] = value
        if isinstance(value, dict):
            names.update(flatten(value, prefix + name + "_"))
    return names


# ---- comparing
def index_of(position, shape):
    index = []
    for size in reversed(shape):
        position, last = divmod(position, size)
        index.insert(0, last)
    return index


def difference(got, want, tolerance):
    """None where two tensors agree, else the text of the first difference. i32: equal. f32: equal for tolerance 0 (0 = -0,
    NaN = NaN), else |got - want| <= tolerance * max(1, largest finite |want|)."""
    (got_shape, got_values), (shape, values) = got, want
    if list(got_shape) != list(shape):
        return f"expected shape {shape} but got {got_shape}"
    if got_values.typecode != values.typecode:
        return f"expected elements of code {values.typecode} but got {got_values.typecode}"
    allowed = 0
    if values.typecode == "f" and tolerance:
        allowed = tolerance * max([1.0] + [abs(v) for v in values if math.isfinite(v)])
    for position, (g, w) in enumerate(zip(got_values, values)):
        same = g == w or (g != g and w != w) or (math.isfinite(g) and math.isfinite(w) and abs(g - w) <= allowed)
        if not same:
            return f"expected {w!r} but got {g!r} at {index_of(position, shape)} (allowed: {allowed:g})"
    return None


# ---- running
def call(command):
    try:
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=120)
    except subprocess.TimeoutExpired:
        raise Wrong(f"{command[0].name}: no end after 120 s") from None
    except OSError as error:
        raise Wrong(f"{command[0]}: {error.strerror}") from None
    if done.returncode != 0:
        text = (done.stderr.strip() or done.stdout.strip() or "no message")[-1500:]
        raise Wrong(f"{command[0].name} {command[1]}: exit status {done.returncode}: {text}")


def run(case, tensors, template, folder, work, options):
    """Runs one case through one template by each pipeline asked for. Returns the outputs left out."""
    filled = Template(case, case["inputs"])
    program = work / f"{case['case']}.mlir"
    program.write_text("\n".join(filled.fill(template)) + "\n")
    if options.fill_only:
        call([options.tools / "moe-opt", program, "-o", "/dev/null", "--verify-roundtrip"])
        return filled.skipped
    tolerance = case["tolerance"] if options.tolerance is None else min(case["tolerance"], options.tolerance)
    for flags in options.pipelines:
        executable, output = work / f"{case['case']}.exe", work / f"{case['case']}.out.safetensors"
        output.unlink(missing_ok=True)
        call([options.tools / "moe-compile", program, "-o", executable, *flags])
        call([executable, "run", "--input", folder / f"{case['case']}.safetensors", "--output", output])
        results = read_tensors(output)
        for name in case["outputs"]:
            if name in filled.skipped:
                continue
            if name not in results:
                raise Wrong(f"{' '.join(flags) or 'default pipeline'}: no output '{name}'")
            told = difference(results[name], tensors[name], tolerance)
            if told:
                raise Wrong(f"{' '.join(flags) or 'default pipeline'}: {name}: {told}")
    return filled.skipped


def main():
    parser = argparse.ArgumentParser(description="Runs reference cases of the moe ops.")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("prefixes", nargs="*")
    parser.add_argument("--tools", type=pathlib.Path, default=HERE.parents[2] / "build" / "bin")
    parser.add_argument("--reference", action="store_true", help="lower by the reference semantics")
    parser.add_argument("--emulated", action="store_true", help="as GPU kernels on the emulator")
    parser.add_argument("--both", action="store_true", help="both pipelines")
    parser.add_argument("--tolerance", type=float, help="at most this one, relative to the largest expected value")
    parser.add_argument("--fill-only", action="store_true", help="fill and verify the programs, run nothing")
    parser.add_argument("--work", type=pathlib.Path, help="keep programs and outputs here")
    parser.add_argument("-v", "--verbose", action="store_true")
    options = parser.parse_args()
    options.pipelines = [[], ["--reference"]] if options.both else [["--reference"] if options.reference else []]
    if options.emulated:
        options.pipelines = [["--target=cuda", "--run-on=host"]]
    options.tools = options.tools.resolve()

    cases = sorted(options.folder.glob("*.json"))
    if not cases:
        sys.exit(f"error: no cases in {options.folder}")
    for prefix in options.prefixes:
        if not any(path.name.startswith(prefix) for path in cases):
            sys.exit(f"error: no case starts with {prefix}")
    if options.prefixes:
        cases = [path for path in cases if path.name.startswith(tuple(options.prefixes))]

    passed = failed = 0
    left_out = {}
    with tempfile.TemporaryDirectory() as scratch:
        work = options.work or pathlib.Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        for path in cases:
            case = json.loads(path.read_text())
            tensors = read_tensors(path.with_suffix(".safetensors"))
            templates = [HERE / f"{case['op']}.mlir.in", *sorted(HERE.glob(f"{case['op']}-*.mlir.in"))]
            for template in templates:
                try:
                    if not template.exists():
                        raise Wrong(f"no template for the op '{case['op']}'")
                    skipped = run(case, tensors, template, options.folder, work, options)
                    for name, reason in skipped.items():
                        if name in case["outputs"]:
                            left_out.setdefault(reason, set()).add(f"{path.stem}.{name}")
                    passed += 1
                    if options.verbose:
                        print(f"ok   {path.stem} ({template.name})")
                except Wrong as error:
                    failed += 1
                    print(f"FAIL {path.stem} ({template.name}): {error}")
    for reason, names in left_out.items():
        print(f"not compared ({reason}): {', '.join(sorted(names))}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
