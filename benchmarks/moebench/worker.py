"""One peer in a process of its own: `python -m moebench.worker REQUESTS REPLIES`, numbers of two pipes that carry lines of
JSON. A process each, because the peers bring OpenMP runtimes and thread pools that disturb each other, and because one that
crashes must not end the run. The parent lets one worker compute at a time."""
import importlib
import json
import os
import resource
import sys
import time
import traceback

import numpy as np


def make_peer(spec):
    """The object of the class that spec["peer"] names, as module:class."""
    module, name = spec["peer"].split(":")
    return getattr(importlib.import_module(f"moebench.{module}"), name)(spec)


class Worker:
    """Answers requests; each is a dictionary whose "do" names a method."""

    def __init__(self):
        self.peer = self.inputs = None

    def load(self, spec):
        self.peer = make_peer(spec)
        return {"version": self.peer.version, "label": self.peer.label, "packaged": self.peer.packaged}

    def threads(self, count, cpus):
        """Uses `count` threads on these CPUs; the threads that exist are moved, new ones inherit."""
        for thread in os.listdir("/proc/self/task"):
            try:
                os.sched_setaffinity(int(thread), cpus)
            except (ProcessLookupError, PermissionError):
                pass
        self.peer.set_threads(count)
        return {}

    def inputs_from(self, path):
        """Takes the batches of an .npy file [batch, T, H]."""
        self.inputs = list(np.load(path))
        self.peer.prepare(self.inputs)
        return {}

    def check(self, rows, reference):
        """Error of batch 0 relative to the reference's largest value, and how long this first call took."""
        expected = np.load(reference)[: len(rows)]
        start = time.perf_counter_ns()
        self.peer.call(0)
        elapsed = time.perf_counter_ns() - start
        got = np.asarray(self.peer.output(), dtype=np.float64)[rows]
        error = np.abs(got - expected).max() / np.abs(expected).max()
        return {"error": float(error) if np.isfinite(error) else float("inf"), "nanoseconds": elapsed}

    def turn(self, first, warm, count):
        """Calls batches first, first + 1, ...; returns the time of each but the first `warm`."""
        clock, call, total, times = time.perf_counter_ns, self.peer.call, len(self.inputs), []
        for i in range(first, first + warm + count):
            start = clock()
            call(i % total)
            times.append(clock() - start)
        return {"nanoseconds": times[warm:]}

    def memory(self):
        return {"peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def main(worker):
    """Answers the requests that come through the pipe until it is closed."""
    requests, replies = os.fdopen(int(sys.argv[1])), os.fdopen(int(sys.argv[2]), "w")
    for line in requests:
        request = json.loads(line)
        try:
            reply = {"ok": True} | getattr(worker, request.pop("do"))(**request)
        except BaseException as error:  # pylint: disable=broad-except; whatever it is, the parent has to know
            traceback.print_exc()
            text = " ".join(str(error).split())[:300]
            reply = {"ok": False, "reason": f"{type(error).__name__}: {text}" if text else type(error).__name__}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


if __name__ == "__main__":
    main(Worker())
