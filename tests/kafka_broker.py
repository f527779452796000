"""A real broker of Kafka's protocol for tests: noida-db, where it is installed (`pip install noida-db`)."""

from __future__ import annotations

import socket
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path


def binary() -> Path | None:
    """The broker's program, or None where the package is not installed."""
    spec = find_spec("noida_db")
    places = spec.submodule_search_locations if spec else None
    return Path(places[0]) / "noida-db" if places else None


class Broker:
    """A broker on this machine that keeps what it was given in a directory, so that it can be killed and come back."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self.port = _free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        """Start it and wait until it answers."""
        program = binary()
        assert program is not None
        program.chmod(0o755)
        command = [str(program), "start", "--only", "kafka", "--kafka-port", str(self.port), "--data-dir", "data"]
        with (self._directory / "broker.log").open("ab") as log:
            self._process = subprocess.Popen(command, cwd=self._directory, stdout=log, stderr=log)
        until = time.monotonic() + 10
        while not _answers(self.port):
            if time.monotonic() > until or self._process.poll() is not None:
                raise RuntimeError((self._directory / "broker.log").read_text())
            time.sleep(0.05)

    def kill(self) -> None:
        """End it at once, without a word to its clients."""
        if self._process:
            self._process.kill()
            self._process.wait()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _answers(port: int) -> bool:
    with socket.socket() as tried:
        tried.settimeout(0.2)
        return tried.connect_ex(("127.0.0.1", port)) == 0
