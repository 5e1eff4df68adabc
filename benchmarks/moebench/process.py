"""The parent's side of worker.py."""
import json
import os
import pathlib
import select
import signal
import subprocess
import sys


class PeerFailed(Exception):
    """A peer could not do what was asked; the text is the reason."""


class Process:
    """A worker process. After a failure of `ask` that is not the peer's own refusal, it is gone."""

    def __init__(self, name, log, environment=None, module="moebench.worker"):
        self.name, self._buffer = name, b""
        request_read, self._requests = os.pipe()
        self._replies, reply_write = os.pipe()
        package = str(pathlib.Path(__file__).resolve().parent.parent)
        with open(log, "ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, str(request_read), str(reply_write)], stdin=subprocess.DEVNULL,
                stdout=output, stderr=output, pass_fds=(request_read, reply_write),
                env=os.environ | {"PYTHONPATH": package} | (environment or {}))
        os.close(request_read)
        os.close(reply_write)
        self._log = log

    def ask(self, do, seconds=300, **arguments):
        """Sends a request and waits for the reply."""
        self.send(do, **arguments)
        return self.receive(do, seconds)

    def send(self, do, **arguments):
        """Sends a request; `receive` has to follow."""
        try:
            os.write(self._requests, (json.dumps({"do": do} | arguments) + "\n").encode())
        except BrokenPipeError:
            pass  # receive finds out how the process ended

    def receive(self, do, seconds=300):
        """The reply to `send`; PeerFailed if there is none in time."""
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([self._replies], [], [], seconds)
            if not ready:
                self.close()
                raise PeerFailed(f"{do} took more than {seconds:.0f} s")
            piece = os.read(self._replies, 65536)
            if not piece:
                raise PeerFailed(self._end())
            self._buffer += piece
        line, self._buffer = self._buffer.split(b"\n", 1)
        reply = json.loads(line)
        if not reply.pop("ok"):
            raise PeerFailed(reply["reason"])
        return reply

    def _end(self):
        """How the process ended."""
        code = self._process.wait()
        if code < 0:
            return f"ended by {signal.Signals(-code).name} (see {pathlib.Path(self._log).name})"
        return f"ended with status {code} (see {pathlib.Path(self._log).name})"

    def close(self):
        for pipe in (self._requests, self._replies):
            try:
                os.close(pipe)
            except OSError:
                pass
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
