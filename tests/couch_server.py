"""A real server of CouchDB's protocol for tests: PouchDB Server, where npm has installed it.

npm install --prefix .venv/couch --no-save --no-package-lock --ignore-scripts pouchdb-server@4.2.0
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

INSTALL = "npm install --prefix .venv/couch --no-save --no-package-lock --ignore-scripts pouchdb-server@4.2.0"


def binary() -> Path | None:
    """The server's program, or None where it is not installed."""
    places = [Path(sys.prefix) / "couch", Path(__file__).resolve().parent.parent / ".venv" / "couch"]
    found = (place / "node_modules" / "pouchdb-server" / "bin" / "pouchdb-server" for place in places)
    return next((path for path in found if path.exists()), None) if shutil.which("node") else None


class Server:
    """A server on this machine that keeps its databases in a directory, so that it can be killed and come back."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port = int(found.getsockname()[1])
        (directory / "databases").mkdir(exist_ok=True)
        log = {"file": str(directory / "server.log"), "level": "warning"}
        (directory / "config.json").write_text(json.dumps({"log": log}))
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=60)
        self.start()

    def start(self) -> None:
        """Start it and wait until it answers."""
        program = binary()
        assert program is not None
        settings = ["--host", "127.0.0.1", "--port", str(self.port), "--dir", "databases", "--config", "config.json"]
        with (self._directory / "output.log").open("ab") as log:
            command = ["node", str(program), *settings]
            self._process = subprocess.Popen(command, cwd=self._directory, stdout=log, stderr=log)
        until = time.monotonic() + 30
        while not self._answers():
            if time.monotonic() > until or self._process.poll() is not None:
                raise RuntimeError((self._directory / "output.log").read_text())
            time.sleep(0.05)

    def _answers(self) -> bool:
        try:
            return self.client.get("/").status_code == 200
        except httpx.HTTPError:
            return False

    def kill(self) -> None:
        """End it at once, without a word to its clients."""
        if self._process:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        """End it for good."""
        self.kill()
        self.client.close()

    def database(self) -> Database:
        """A new database."""
        return Database(self, f"db{uuid.uuid4().hex[:12]}")


class Database:
    """A database of a server, filled by hand."""

    def __init__(self, server: Server, name: str) -> None:
        self.server = server
        self.name = name
        self.url = f"couchdb://127.0.0.1:{server.port}/{name}"
        self.create()

    def create(self) -> None:
        """Make it, unless it is there: PouchDB makes one anew for who reads it in the moment in which it is deleted."""
        answer = self.server.client.put(f"/{self.name}")
        if answer.status_code != HTTPStatus.PRECONDITION_FAILED:
            answer.raise_for_status()

    def delete(self) -> None:
        """Delete it."""
        self.server.client.delete(f"/{self.name}").raise_for_status()

    def put(self, documents: Iterable[Mapping[str, Any]], **more: Any) -> list[dict[str, Any]]:
        """Write documents, in an order the server chooses; what it says of each."""
        body = {"docs": list(documents), **more}
        answer = self.server.client.post(f"/{self.name}/_bulk_docs", json=body)
        answer.raise_for_status()
        found: list[dict[str, Any]] = answer.json()
        return found

    def get(self, path: str = "", **params: str) -> Any:
        """What GET gives."""
        answer = self.server.client.get(f"/{self.name}/{path}", params=params)
        answer.raise_for_status()
        return answer.json()

    def document(self, name: str) -> Any:
        """A document."""
        return self.get(quote(name, safe=""))

    def documents(self) -> list[Any]:
        """All documents."""
        return [row["doc"] for row in self.get("_all_docs", include_docs="true")["rows"]]
