"""The comparison of layers: groups of cells with the same weights, each group's peers in batches that fit into memory."""
import datetime
import os
import shutil
import statistics
import subprocess
import sys
import time

import json
import numpy as np

from . import environment, layers, model, options, ours, report, timing
from .formats import FORMATS
from .layers import LAYERS
from .peers import PEERS
from .process import PeerFailed, Process


class OutOfTime(Exception):
    """The time limit has passed."""


class Comparison:
    """One run; `results` is what report.py reads, saved after every cell."""

    def __init__(self, arguments, tools, compiler, output):
        self.arguments, self.tools, self.compiler, self.output = arguments, tools, compiler, output
        self.start = time.monotonic()
        machine = environment.describe_machine()
        self.cache = environment.last_level_cache(machine)
        self.results = {"date": datetime.datetime.now().isoformat(timespec="seconds"), "machine": machine,
                        "command": sys.argv[1:], "versions": {}, "missing": {}, "roofs": [], "groups": []}
        self.results["versions"]["ours"] = f"moe-mlir {environment.commit()}"

    def say(self, text):
        print(f"[{time.monotonic() - self.start:6.0f} s] {text}", flush=True)

    def save(self):
        environment.write_json(self.output / "results.json", self.results)

    def measure_roofs(self):
        """Adds a measurement of the machine per number of threads."""
        program = self.tools.roofline()
        megabytes = max(256, 4 * self.cache >> 20)
        for count in self.arguments.threads:
            seconds = "0.1" if self.arguments.quick else "0.3"
            text = subprocess.run([program, str(count), str(megabytes), seconds], capture_output=True, text=True, check=True).stdout
            self.results["roofs"].append(json.loads(text))
            self.say(f"roofline: {text.strip()}")
        self.save()

    def roof(self, threads):
        return timing.best_roof([roof for roof in self.results["roofs"] if roof["threads"] == threads])

    def wanted_peers(self, format_name):
        """Peers of the format whose needs can be had; the others are noted as missing."""
        chosen = []
        for name, peer in PEERS.items():
            if format_name not in peer.formats or (self.arguments.peers is not None and name not in self.arguments.peers):
                continue
            absent = [need for need in peer.needs if self.tools.get(need) is None]
            if absent:
                self.results["missing"][name] = self.tools.missing[absent[0]]
            else:
                chosen.append(peer)
        return chosen

    # ---- a group: layer and format

    def prepare(self, layer, form):
        """Checkpoint, reference and compiled library; returns (folder, facts about the group)."""
        folder = self.arguments.data / f"{layer.name}-{form.storage}"
        layers.make_checkpoint(layer, form.storage, folder)
        reference = folder / "reference.npy"
        if not reference.exists():
            np.save(reference, layers.reference(layer, layers.Weights(folder), form.storage))
        group = {"layer": layer.name, "format": form.name, "cells": []}
        ok, reason = ours.supports(self.compiler, form.name)
        if ok:
            try:
                library, seconds = ours.compile_layer(self.compiler, folder, form.name, self.arguments.compile_flags.split())
                group |= {"library": str(library), "compile_seconds": seconds, "library_bytes": library.stat().st_size}
            except RuntimeError as error:
                reason = str(error)
        if reason:
            group["ours_missing"] = reason
        return folder, group

    def prepare_all(self, layer, form):
        """What run_group needs, and what peers keep on disk."""
        folder, group = self.prepare(layer, form)
        for peer in self.wanted_peers(form.name):
            if form.name != form.storage and "ggml" in peer.needs and "ours_missing" not in group:
                self.say(f"{layer.name} {form.name}: {peer.name} quantises")
                for process in self.load(layer, form, folder, {peer.name: self.spec_of(peer)}).values():
                    process.close()
        self.say(f"{layer.name} {form.name}: " + group.get("ours_missing", "ready"))

    def run_group(self, layer, form):
        self.check_time()
        self.say(f"{layer.name} {form.name}: making weights and compiling")
        folder, group = self.prepare(layer, form)
        if "ours_missing" in group:
            self.say(f"{layer.name} {form.name}: ours: {group['ours_missing']}")
            self.results["groups"].append(group)
            return folder
        self.say(f"{layer.name} {form.name}: compiled in {group['compile_seconds']:.1f} s")
        for tokens in self.arguments.tokens:
            group["cells"] += [self.new_cell(layer, form, folder, tokens, threads) for threads in self.arguments.threads]
        self.results["groups"].append(group)
        for batch in self.batches(layer, form):
            self.run_batch(layer, form, folder, group, batch)
        return folder

    def new_cell(self, layer, form, folder, tokens, threads):
        """Writes the cell's inputs and says what is known of it without timing."""
        bytes_per_expert = layer.expert_values() * form.bits / 8
        per_call = bytes_per_expert * min(layer.experts, tokens * layer.k)
        count = 3 if tokens >= 512 else max(6, min(48, int(4 * self.cache / per_call) + 2))
        batches = layers.Batches(layer, layers.Weights(folder), form.storage, tokens, count)
        path = folder / f"inputs-{form.name}-{tokens}.npy"
        np.save(path, np.stack(batches.inputs))
        hit = batches.experts_hit()
        bound, kind = timing.bound_seconds(layer, form, tokens, hit, self.roof(threads))
        early = batches.early_reuse(bytes_per_expert, self.cache)
        if early > 0.05:
            self.say(f"note: {100 * early:.0f} % of the experts' reads at T={tokens} may be served by the last-level cache")
        return {"tokens": tokens, "threads": threads, "batches": count, "experts_hit": hit, "early_reuse": early,
                "bound_ms": bound * 1e3, "bound_by": kind, "inputs": str(path), "rows": batches.checked_rows.tolist(),
                "measured": []}

    def batches(self, layer, form):
        """Peers in lists that fit into memory side by side, with ours."""
        limit = (self.arguments.memory * 1e9 if self.arguments.memory else environment.available_memory() / 2)
        size = layer.experts * layer.expert_values() * form.bits / 8
        checkpoint = layer.experts * layer.expert_values() * (4 if form.storage == "f32" else 2)
        result, room = [], 0
        for peer in self.wanted_peers(form.name):
            need = peer.copies * size + 0.4e9
            if checkpoint + size + need > limit:
                self.note_all(layer, form, peer.name, f"needs {(checkpoint + size + need) / 1e9:.1f} GB with ours and the "
                                                      f"checkpoint, may take {limit / 1e9:.1f} GB")
                continue
            if not result or need > room:
                result.append([])
                room = limit - checkpoint - size
            result[-1].append(peer)
            room -= need
        return result or [[]]

    def note_all(self, layer, form, name, reason):
        self.say(f"{layer.name} {form.name}: {name}: {reason}")
        for group in self.results["groups"]:
            if (group["layer"], group["format"]) == (layer.name, form.name):
                group.setdefault("failed", {})[name] = reason

    def run_batch(self, layer, form, folder, group, batch):
        """Times all cells of the group with these peers and ours."""
        specs = {"ours": ("ours:Ours", {}, {"library": group["library"], "isa": self.arguments.isa})}
        specs |= {peer.name: self.spec_of(peer) for peer in batch}
        processes = self.load(layer, form, folder, specs)
        try:
            if "ours" in processes:
                slow = {}
                for threads in self.arguments.threads:
                    self.set_threads(layer, form, processes, threads)
                    for cell in group["cells"]:
                        if cell["threads"] == threads:
                            self.check_time()
                            self.run_cell(layer, form, folder, cell, processes, slow)
        finally:
            for process in processes.values():
                process.close()

    @staticmethod
    def spec_of(peer):
        return peer.target, peer.environment, {"options": peer.options}

    def load(self, layer, form, folder, specs):
        """Starts a process for each of `specs` (name -> class, environment, more of its spec) and loads its weights."""
        started, loaded = {}, {}
        common = {"layer": layer.name, "format": form.name, "checkpoint": str(folder), "tools": self.tools.found}
        for name, (target, variables, more) in specs.items():
            started[name] = Process(name, self.output / f"{name}.log", variables)
            started[name].send("load", spec=common | more | {"peer": target, "name": name})
        for name, process in started.items():
            try:
                facts = process.receive("load", 900)
            except PeerFailed as reason:
                process.close()
                self.note_all(layer, form, name, str(reason))
                continue
            loaded[name] = process
            if name != "ours":
                self.results["versions"][name] = facts["version"]
        return loaded

    def set_threads(self, layer, form, processes, count):
        cpus = self.results["machine"]["cpus"][-count:]
        for name in list(processes):
            try:
                processes[name].ask("threads", 600, count=count, cpus=cpus)
            except PeerFailed as reason:
                self.note_all(layer, form, name, f"{count} threads: {reason}")
                processes.pop(name).close()

    def run_cell(self, layer, form, folder, cell, processes, slow):
        """Checks and times one cell; `slow`: (threads, name) -> (tokens, seconds, times the best) of its last cell."""
        where = f"{layer.name} {form.name} T={cell['tokens']} threads={cell['threads']}"
        measured = {}
        able, guess = {}, {}
        for name, process in processes.items():
            last = slow.get((cell["threads"], name))
            if last and name != "ours":
                expected = last[1] * cell["tokens"] / last[0]
                if last[2] > 2.5 and expected > self.arguments.cell_seconds / 4:
                    measured[name] = {"skipped": f"{last[2]:.1f} times the best at T={last[0]}"}
                    continue
            try:
                process.ask("inputs_from", 300, path=cell["inputs"])
                got = process.ask("check", 300, rows=cell["rows"], reference=str(folder / "reference.npy"))
            except PeerFailed as reason:
                measured[name] = {"failed": str(reason)}
                continue
            measured[name] = {"error": got["error"]}
            if got["error"] > form.tolerance:
                measured[name]["failed"] = f"wrong: error {got['error']:.2g} relative to the reference's largest value"
                continue
            able[name], guess[name] = process, got["nanoseconds"]
        times, failed = timing.time_cell(able, guess, self.arguments.cell_seconds)
        for name, values in times.items():
            if name in failed:
                measured[name]["failed"] = failed[name]
            elif values:
                measured[name] |= {"median_ms": statistics.median(values) / 1e6, "calls": len(values),
                                   "low_ms": min(values) / 1e6, "times_ms": [round(v / 1e6, 4) for v in values]}
        medians = {name: m["median_ms"] for name, m in measured.items() if "median_ms" in m}
        best = min((ms for name, ms in medians.items() if name != "ours"), default=None)
        for name, ms in medians.items():
            slow[(cell["threads"], name)] = (cell["tokens"], ms / 1e3, ms / best if best else 1)
        for name in list(processes):
            if name in failed or "ended" in measured.get(name, {}).get("failed", ""):
                self.note_all(layer, form, name, f"stopped at T={cell['tokens']}: {measured[name]['failed']}")
                processes.pop(name).close()
        cell["measured"].append(measured)
        shown = ", ".join(f"{name} {ms:.4g}" for name, ms in sorted(medians.items(), key=lambda item: item[1]))
        self.say(f"{where}: ms {shown}; bound {cell['bound_ms']:.4g} ({cell['bound_by']})")
        self.save()

    def check_time(self):
        limit = self.arguments.time_limit
        if limit and time.monotonic() - self.start > limit * 60:
            raise OutOfTime


def main():
    arguments = options.parse(sys.argv[1:])
    output, data = arguments.output.resolve(), arguments.data.resolve()
    arguments.data = data
    output.mkdir(parents=True, exist_ok=True)
    tools = environment.Tools(data, arguments.offline)
    try:
        compiler = environment.moe_compiler(arguments.compiler, output / "build.log")
    except environment.Missing as reason:
        sys.exit(f"benchmarks/compare: error: {reason}")
    if arguments.model:
        return model.run(arguments, tools, compiler, output)
    comparison = Comparison(arguments, tools, compiler, output)
    try:
        for name in arguments.layers:
            for format_name in arguments.formats:
                if arguments.prepare:
                    comparison.prepare_all(LAYERS[name], FORMATS[format_name])
                    continue
                if not comparison.results["roofs"]:
                    comparison.measure_roofs()
                folder = comparison.run_group(LAYERS[name], FORMATS[format_name])
                comparison.save()
                if arguments.discard:
                    later = arguments.formats[arguments.formats.index(format_name) + 1 :]
                    if all(FORMATS[f].storage != FORMATS[format_name].storage for f in later):
                        shutil.rmtree(folder)
    except OutOfTime:
        comparison.say("the time limit has passed; cells that were not begun are missing")
        comparison.results["cut_short"] = True
    except KeyboardInterrupt:
        comparison.results["cut_short"] = True
    if comparison.results["groups"]:
        comparison.measure_roofs()
        comparison.save()
        report.write(comparison.results, output)
        comparison.say(f"results are in {output}")
    return 0


if __name__ == "__main__":
    os.umask(0o022)
    sys.exit(main())
