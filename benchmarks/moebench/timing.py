"""Interleaved timing of several processes, and the time the machine needs at least."""
import statistics
import time

from .process import PeerFailed

SETTLE = 0.005       # seconds for the last one's threads to stop spinning
TURN = 20e6          # nanoseconds that a turn should last
CONTENDER = 2.5      # who takes longer than this times the best has no say in the result and is not timed further


def time_cell(processes, first_guess, seconds, timeout=300.0):
    """Times calls of the processes in turns; `first_guess`: name -> nanoseconds of a first call. The process "ours" is
    always timed. Returns name -> list of nanoseconds, and name -> reason of those that failed."""
    times = {name: [] for name in processes}
    failed, guess, next_batch = {}, dict(first_guess), {name: 1 for name in processes}

    def turn(name, warm, count):
        try:
            got = processes[name].ask("turn", timeout, first=next_batch[name], warm=warm, count=count)["nanoseconds"]
        except PeerFailed as reason:
            failed[name] = str(reason)
            return
        next_batch[name] += warm + count
        times[name] += got
        guess[name] = statistics.median(times[name])
        time.sleep(SETTLE)

    first_limit = 2 * CONTENDER * min((guess[name] for name in processes if name != "ours"), default=float("inf"))
    for name in processes:
        if name == "ours" or guess[name] <= first_limit or guess[name] < TURN:
            turn(name, 1 if guess[name] < 2e8 else 0, 1)
        else:
            times[name].append(guess[name])  # the first call says enough
    others = [guess[name] for name in processes if name != "ours" and name not in failed]
    limit = CONTENDER * min(others, default=float("inf"))
    names = [name for name in processes if name not in failed and (name == "ours" or guess[name] <= limit)]
    start, rounds = time.monotonic(), 0
    while names and rounds < 40 and (rounds < 2 or time.monotonic() - start < seconds):
        for name in names[rounds % len(names) :] + names[: rounds % len(names)]:
            if name not in failed:
                turn(name, 1 if guess[name] < 30e6 else 0, max(1, min(8, round(TURN / guess[name]))))
        names = [name for name in names if name not in failed]
        rounds += 1
    return times, failed


def bound_seconds(layer, form, tokens, experts_hit, roof):
    """(seconds, "memory" or "arithmetic"): the least time for reading the experts that are hit and the router, and for
    the operations. `roof`: what the program roofline printed for the number of threads."""
    read = experts_hit * layer.expert_values() * form.bits / 8 + layer.experts * layer.hidden * (4 if form.name == "f32" else 2)
    bandwidth = max(roof["bandwidth"]["huge_pages"], roof["bandwidth"]["small_pages"]) * 1e9
    memory, arithmetic = read / bandwidth, layer.flops(tokens) / (roof["peak"][form.peak]["gops"] * 1e9)
    return (memory, "memory") if memory >= arithmetic else (arithmetic, "arithmetic")


def best_roof(roofs):
    """Of several measurements of one number of threads, the best of each rate."""
    best = None
    for roof in roofs:
        if best is None:
            best = {"threads": roof["threads"], "bandwidth": dict(roof["bandwidth"]),
                    "peak": {kind: dict(value) for kind, value in roof["peak"].items()}}
        for kind in ("huge_pages", "small_pages"):
            best["bandwidth"][kind] = max(best["bandwidth"][kind], roof["bandwidth"][kind])
        for kind, value in roof["peak"].items():
            best["peak"][kind]["gops"] = max(best["peak"][kind]["gops"], value["gops"])
    return best
