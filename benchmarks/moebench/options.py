"""The command line of benchmarks/compare."""
import argparse
import os
import pathlib

BUILD = pathlib.Path(os.environ.get("MOE_BUILD", pathlib.Path(__file__).resolve().parents[2] / "build"))
LAYERS = ["olmoe", "qwen3", "mixtral", "gptoss"]
FORMATS = ["f32", "bf16", "int8", "fp8", "int4", "mxfp4"]


def _list(allowed=None, kind=str):
    def parse(text):
        values = [kind(part) for part in text.split(",") if part]
        for value in values:
            if allowed and value not in allowed:
                raise argparse.ArgumentTypeError(f"expected some of {','.join(allowed)} but got {value}")
        return values

    return parse


def parse(arguments):
    """The options; --quick fills in what is not given."""
    p = argparse.ArgumentParser(prog="benchmarks/compare", description=__doc__)
    p.add_argument("--layers", type=_list(LAYERS), help=f"of {','.join(LAYERS)}; default: all")
    p.add_argument("--formats", type=_list(FORMATS), help=f"of {','.join(FORMATS)}; default: all that moe-compile has")
    p.add_argument("--tokens", type=_list(kind=int), help="default: 1,4,16,64,256,1024")
    p.add_argument("--threads", type=_list(kind=int), help="default: 1,2 (as far as this process may use so many CPUs)")
    p.add_argument("--peers", type=_list(), help="default: all; ours is always there")
    p.add_argument("--quick", action="store_true", help="a few cells, about three minutes once everything is installed")
    p.add_argument("--prepare", action="store_true",
                   help="only install, make checkpoints and compile, so that a later run measures at once")
    p.add_argument("--model", action="store_true", help="instead of layers: examples/lexicon-moe against transformers")
    p.add_argument("--cell-seconds", type=float, help="time to spend on a cell after the first calls; default 4")
    p.add_argument("--time-limit", type=float, help="minutes after which no further cell is begun")
    p.add_argument("--memory", type=float, help="GB that all peers together may take; default: half of what is available")
    p.add_argument("--discard", action="store_true", help="remove each layer's files when its cells are done")
    p.add_argument("--offline", action="store_true", help="install nothing")
    p.add_argument("--compiler", help="moe-compile to use; default: the build folder's, built if need be")
    p.add_argument("--compile-flags", default="", help="further flags for moe-compile")
    p.add_argument("--isa", help="instruction-set level of our side; default: the best")
    p.add_argument("--venv", default=BUILD / "benchmarks" / "venv", type=pathlib.Path)
    p.add_argument("--data", default=BUILD / "benchmarks" / "data", type=pathlib.Path,
                   help="folder for checkpoints, libraries and packages (tens of GB)")
    p.add_argument("--output", default=BUILD / "benchmarks" / "results", type=pathlib.Path)
    p.add_argument("--self-test", action="store_true", help="checks this tool itself; no network, no peers")
    options = p.parse_args(arguments)
    quick = options.quick
    options.layers = options.layers or (["olmoe"] if quick else LAYERS)
    options.formats = options.formats or (["bf16"] if quick else FORMATS)
    options.tokens = options.tokens or ([1, 16, 256] if quick else [1, 4, 16, 64, 256, 1024])
    options.cell_seconds = options.cell_seconds or (2.0 if quick else 4.0)
    cpus = len(os.sched_getaffinity(0))
    options.threads = [n for n in options.threads or ([1] if quick else [1, 2]) if n <= cpus]
    if not options.threads:
        p.error(f"this process may use {cpus} CPUs only")
    return options
