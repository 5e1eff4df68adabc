"""examples/lexicon-moe, compiled, against transformers: tokens per second of `generate` and `score`, and start-up."""
import json
import os
import pathlib
import statistics
import subprocess
import time

from . import environment
from .process import PeerFailed, Process

PROMPT = "The wise man of the East said"
NEW_TOKENS, ROUNDS, WINDOW = 128, 5, 256
IMPLEMENTATIONS = ("grouped_mm", "batched_mm", "eager")


class Ours:
    """The executable; each call starts it anew, its own clocks time the work."""

    def __init__(self, compiler, checkpoint, output, flags):
        self._program = str(output / "lexicon")
        start = time.monotonic()
        subprocess.run([compiler, str(checkpoint), "-o", self._program, *flags], check=True)
        self.compile_seconds = time.monotonic() - start
        self._threads = "1"

    def threads(self, count):
        self._threads = str(count)

    def _json(self, *arguments):
        command = [self._program, *arguments, "--json", "--threads", self._threads]
        return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    def generate(self, prompt, count):
        got = self._json("generate", prompt, "--max-new-tokens", str(count), "--ignore-eos")
        return {"seconds": got["prompt_seconds"] + got["decode_seconds"], "ids": got["generated_ids"]}

    def score(self, path, window):
        return self._json("score", path, "--window", str(window))["files"][0]

    def first_token_seconds(self, prompt):
        """From starting the program to the first byte of text."""
        start = time.perf_counter()
        with subprocess.Popen([self._program, "generate", prompt, "--max-new-tokens", "8", "--threads", self._threads],
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            os.read(process.stdout.fileno(), 1)
            seconds = time.perf_counter() - start
            process.stdout.read()
        return seconds


def _start_peers(tools, checkpoint, output):
    """Processes of transformers by experts implementation, and why others are missing."""
    absent = [need for need in ("torch", "transformers") if tools.get(need) is None]
    if absent:
        return {}, {"transformers": tools.missing[absent[0]]}, {}
    processes, missing, versions = {}, {}, {}
    for experts in IMPLEMENTATIONS:
        name = f"transformers-{experts}"
        process = Process(name, output / f"{name}.log", module="moebench.model_worker")
        try:
            versions[name] = process.ask("load", 600, folder=str(checkpoint), experts=experts)["version"]
            processes[name] = process
        except PeerFailed as reason:
            process.close()
            missing[name] = str(reason)
    return processes, missing, versions


def _measure(ours, processes, text, threads, missing):
    """{work: {name: tokens per second}}, agreement of the results, and milliseconds to the first token."""
    rates, facts = {"generate": {}, "score": {}}, {}
    ours.threads(threads)
    for name, process in list(processes.items()):
        try:
            process.ask("threads", count=threads)
            process.ask("generate", prompt=PROMPT, count=8)
        except PeerFailed as reason:
            missing[name] = str(reason)
            processes.pop(name).close()
    for _ in range(ROUNDS):
        for work, arguments in (("generate", {"prompt": PROMPT, "count": NEW_TOKENS}),
                                ("score", {"path": str(text), "window": WINDOW})):
            results = {"ours": getattr(ours, work)(*arguments.values())}
            peers = {name: statistics.median(rates[work].get(name, [float("inf")])) for name in processes}
            for name, process in list(processes.items()):
                if 3 * peers[name] < max(peers.values()) < float("inf"):
                    continue  # not the best implementation for this, and slow
                try:
                    results[name] = process.ask(work, **arguments)
                except PeerFailed as reason:
                    missing[name] = str(reason)
                    processes.pop(name).close()
            for name, got in results.items():
                tokens = len(got["ids"]) if work == "generate" else got["tokens"]
                rates[work].setdefault(name, []).append(tokens / got["seconds"])
                if work == "score":
                    facts.setdefault("nll", {})[name] = got["nll"]
                else:
                    same = sum(a == b for a, b in zip(got["ids"], results["ours"]["ids"]))
                    facts.setdefault("same_ids", {})[name] = same
    medians = {work: {name: statistics.median(values) for name, values in by_name.items()} for work, by_name in rates.items()}
    facts["first_token_ms"] = statistics.median(ours.first_token_seconds(PROMPT) for _ in range(20)) * 1e3
    return medians, facts


def run(arguments, tools, compiler, output):
    """Measures, prints a Markdown report and writes model.md and model.json."""
    checkpoint = environment.ROOT / "examples" / "lexicon-moe"
    text = checkpoint / "eval" / "kjv.txt"
    ours = Ours(compiler, checkpoint, output, arguments.compile_flags.split())
    processes, missing, versions = _start_peers(tools, checkpoint, output)
    machine = environment.describe_machine()
    lines = ["# lexicon-moe: generate and score", "", f"{machine.get('model name')}, {len(machine['cpus'])} CPUs. Tokens per "
             f"second, medians of {ROUNDS} runs in turns; generate: {NEW_TOKENS} tokens, greedy, after a prompt of a few tokens, "
             f"the prompt's time included; score: {pathlib.Path(text).name}, windows of {WINDOW}. Same dtype, same machine, same "
             "number of threads.", ""]
    results = {"machine": machine, "versions": versions, "missing": missing, "threads": {}}
    try:
        for threads in arguments.threads:
            medians, facts = _measure(ours, processes, text, threads, missing)
            results["threads"][threads] = {"tokens_per_s": medians} | facts
            names = sorted({name for by_name in medians.values() for name in by_name}, key=lambda n: (n != "ours", n))
            lines += [f"## {threads} thread{'s' * (threads > 1)}", "", "| | generate | ours / it | score | ours / it | nll | same ids |",
                      "|---|---|---|---|---|---|---|"]
            for name in names:
                row = [name]
                for work in ("generate", "score"):
                    rate = medians[work].get(name)
                    row += [f"{rate:.0f}", f"{medians[work]['ours'] / rate:.1f}"] if rate else ["–", "–"]
                row += [f"{facts['nll'].get(name, float('nan')):.4f}", f"{facts['same_ids'].get(name, 0)} of {NEW_TOKENS}"]
                lines.append("| " + " | ".join(row) + " |")
            lines += ["", f"From starting our program to the first byte of text: {facts['first_token_ms']:.1f} ms (median of 20).", ""]
    finally:
        for process in processes.values():
            process.close()
    lines += [f"Compiled in {ours.compile_seconds:.1f} s."] + [f"* {name}: {version}" for name, version in versions.items()]
    lines += [f"* missing: {name}: {reason}" for name, reason in missing.items()]
    environment.write_json(output / "model.json", results)
    (output / "model.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    return 0
