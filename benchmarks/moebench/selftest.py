"""Checks this tool without network and peers: a tiny layer, the reference, worker processes, timing and the report."""
import json
import os
import pathlib
import tempfile
import time

import numpy as np

from . import formats, layers, ours, tensors, timing

BROKEN = ("wrong", "crash", "refuse")  # stand-ins for peers that must not end a run


class Plain:
    """A peer in numpy; spec["options"]["fault"] makes it misbehave on purpose."""

    label, version, packaged = "plain", "numpy " + np.__version__, True

    def __init__(self, spec):
        self._layer, self._weights = layers.LAYERS[spec["layer"]], layers.Weights(spec["checkpoint"])
        self._fault = spec["options"].get("fault")
        if self._fault == "refuse":
            raise RuntimeError("refused\non purpose")

    def set_threads(self, count):
        pass

    def prepare(self, inputs):
        self._inputs = inputs

    def call(self, index):
        if self._fault == "crash":
            os.abort()
        layer, weights = self._layer, self._weights
        x = tensors.as_f32(self._inputs[index])
        logits = x @ tensors.as_f32(np.asarray(weights.router)).T
        chosen = np.argsort(-logits, axis=1)[:, : layer.k]
        scores = np.exp(logits - logits.max(axis=1, keepdims=True))
        values = np.take_along_axis(scores / scores.sum(axis=1, keepdims=True), chosen, axis=1)
        if layer.renormalised and self._fault != "wrong":
            values /= values.sum(axis=1, keepdims=True)
        self._out = np.zeros_like(x)
        for token, slot in np.ndindex(chosen.shape):
            expert = chosen[token, slot]
            both = tensors.as_f32(np.asarray(weights.gate_up[expert])) @ x[token]
            inner = both[: layer.width] / (1 + np.exp(-both[: layer.width])) * both[layer.width :]
            self._out[token] += values[token, slot] * (tensors.as_f32(np.asarray(weights.down[expert])) @ inner)
        if self._fault == "wrong":
            self._out *= 1.5

    def output(self):
        return self._out


def _expect(condition, what):
    if not condition:
        raise AssertionError(what)


def _check_numbers():
    values = np.array([1.0, -2.5, 3.0e-5, 1.00390625, 1.01171875, 0.0], np.float32)
    back = tensors.from_bf16(tensors.to_bf16(values))
    _expect(np.all(np.abs(back - values) <= np.abs(values) / 256), f"bf16: {values} became {back}")
    _expect(back[3] == 1.0 and back[4] == 1.015625, f"bf16: ties go to {back[3]} and {back[4]}")


def _check_batches(layer, weights, storage):
    batches = layers.Batches(layer, weights, storage, 1, 12)
    _expect(batches.experts_hit() == layer.k, "one token hits other than k experts")
    # 8 experts, 2 per token: an expert comes back after three others' turns at the earliest, but where the sequence repeats.
    one = layer.expert_values()
    _expect(batches.early_reuse(one, 3 * layer.k * one) < 0.2, "experts come back too early")
    _expect(batches.early_reuse(one, 100 * one) == 1, "no expert comes back early from a cache that holds all")
    again = layers.Batches(layer, weights, storage, 1, 12)
    _expect(np.array_equal(batches.inputs, again.inputs), "batches differ from one time to the next")
    np.testing.assert_array_equal(layers.Batches(layer, weights, storage, 16, 1).inputs[0][0], batches.inputs[0][0])


def run(arguments):
    """Everything, with moe-compile too if --compiler names one; prints one line and returns the exit status."""
    start = time.monotonic()
    _check_numbers()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for storage in ("f32", "bf16"):
            checkpoint = layers.make_checkpoint(layers.LAYERS["tiny"], storage, folder / f"tiny-{storage}")
            _check_batches(layers.LAYERS["tiny"], layers.Weights(checkpoint), storage)
        text = _comparison(folder, arguments)
    print(f"self-test passed in {time.monotonic() - start:.0f} s: {text}")
    return 0


def _comparison(folder, arguments):
    """A run of run.py's own classes, with stand-ins for peers."""
    # These import the table of peers, which the stand-ins go into.
    from . import peers, report
    from .run import Comparison

    peers.PEERS.clear()
    peers.PEERS["plain"] = peers.Peer("plain", "selftest:Plain", ("f32", "bf16"), ())
    for fault in BROKEN:
        peers.PEERS[fault] = peers.Peer(fault, "selftest:Plain", ("f32", "bf16"), (), options={"fault": fault})
    arguments.data = arguments.output = folder
    arguments.tokens, arguments.threads, arguments.cell_seconds = [1, 20], [1], 0.05

    class Tools:
        """No tools; the roofline is made up."""

        found, missing = {}, {}

        def get(self, name):
            raise AssertionError(f"asked for {name}")

    roof = {"threads": 1, "bandwidth": {"huge_pages": 10.0, "small_pages": 9.0},
            "peak": {kind: {"instruction": "made up", "gops": 100.0} for kind in ("f32", "bf16", "int8")}}
    comparison = Comparison(arguments, Tools(), arguments.compiler, folder)
    comparison.results["roofs"].append(roof)
    if not arguments.compiler:
        _stand_in()
    for name in ("f32", "bf16"):
        comparison.run_group(layers.LAYERS["tiny"], formats.FORMATS[name])
    results = json.loads((folder / "results.json").read_text())
    report.write(results, folder)
    text = (folder / "report.md").read_text()
    for group in results["groups"]:
        _expect("aborted" in group["failed"]["crash"] or "SIGABRT" in group["failed"]["crash"], f"crash: {group['failed']}")
        _expect("refused on purpose" in group["failed"]["refuse"], f"refuse: {group['failed']}")
        for cell in group["cells"]:
            (measured,) = cell["measured"]
            _expect(measured["wrong"]["failed"].startswith("wrong"), f"a wrong result passed: {measured['wrong']}")
            for name in ("ours", "plain"):
                _expect(measured[name]["error"] < formats.FORMATS[group["format"]].tolerance and measured[name]["median_ms"] > 0,
                        f"{name}: {measured[name]}")
        _expect(report.cells_of(results)[0][1][0].best() == "plain", "the best peer is not the only one")
    for part in ("ratio", "ours of roofline", "tiny", "plain", "medians"):
        _expect(part in text, f"the report does not have '{part}':\n{text}")
    _expect(abs(timing.best_roof([roof, roof])["bandwidth"]["huge_pages"] - 10) < 1e-9, "best_roof")
    return f"moe-compile against {len(peers.PEERS)} stand-ins" if arguments.compiler else "stand-ins only, no --compiler"


def _stand_in():
    """Lets the plain peer play our side where there is no compiler."""
    def compile_layer(_compiler, checkpoint, format_name, _flags):
        library = pathlib.Path(checkpoint) / f"ours-{format_name}"
        library.touch()
        return library, 0.0

    ours.supports = lambda _compiler, _format: (True, "")
    ours.compile_layer = compile_layer
    from . import run as run_module

    original = run_module.Process.send

    def send(process, do, **more):
        if do == "load" and more["spec"]["peer"] == "ours:Ours":
            more["spec"] |= {"peer": "selftest:Plain", "options": {}}
        original(process, do, **more)

    run_module.Process.send = send
