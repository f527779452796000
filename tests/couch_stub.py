"""A small server of CouchDB's protocol for what a real one cannot be made to show: faults, opaque places, a million."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


class Stub:
    """A database "logins": its changes are `rows` (id, document as JSON bytes), counted from 1.

    `opaque` writes places as CouchDB 2 and later do; `refusals` are answered first; `cuts` says after how many bytes
    continuous feeds break off; `silent` lets them say nothing; `beats` how often they send a heartbeat.
    """

    def __init__(self) -> None:
        self.rows: list[tuple[str, bytes]] = []
        self.opaque = False
        self.refusals: deque[tuple[int, dict[str, str]]] = deque()
        self.cuts: deque[int] = deque()
        self.silent = False
        self.beats = 0.02
        self.seen: list[tuple[str, str | None]] = []
        self.at: list[float] = []
        self.url = ""

    def count(self) -> int:
        """How many changes there are."""
        return len(self.rows)

    def row(self, number: int) -> tuple[str, bytes]:
        """Id and document of a change."""
        return self.rows[number - 1]

    def has(self, document: str) -> bool:
        """Whether there is such a document."""
        return any(name == document for name, _ in self.rows)

    def place(self, number: int) -> Any:
        """The place of a change."""
        return f"{number}-g1AAAACbeJz{number:06d}" if self.opaque else number

    def changes(self, since: int, limit: int, *, documents: bool) -> Iterator[bytes]:
        """The changes behind a place."""
        for number in range(since + 1, min(self.count(), since + limit) + 1):
            name, document = self.row(number)
            head = json.dumps({"seq": self.place(number), "id": name, "changes": [{"rev": "1-a"}]})
            yield head[:-1].encode() + (b',"doc":' + document if documents else b"") + b"}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    stub: Stub

    def do_GET(self) -> None:
        """Answer."""
        if self._is_refused():
            return
        parts = urlsplit(self.path)
        options = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if not parts.path.endswith("/_changes"):
            self._say(200, json.dumps({"update_seq": self.stub.place(self.stub.count())}).encode())
        elif options.get("feed") == "continuous":
            self._go_on(int(options["since"].split("-")[0]))
        else:
            self._page(options)

    def do_POST(self) -> None:
        """Say whether there is a document."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self._is_refused():
            return
        key = body["keys"][0]
        found = {"key": key, "id": key} if self.stub.has(key) else {"key": key, "error": "not_found"}
        self._say(200, json.dumps({"rows": [found]}).encode())

    def _is_refused(self) -> bool:
        self.stub.seen.append((self.path, self.headers.get("Authorization")))
        self.stub.at.append(time.monotonic())
        if not self.stub.refusals:
            return False
        status, headers = self.stub.refusals.popleft()
        self._say(status, b'{"error":"refused","reason":"because\\u202e"}', headers)
        return True

    def _say(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _page(self, options: dict[str, str]) -> None:
        since = int(options["since"].split("-")[0])
        documents = options.get("include_docs") == "true"
        rows = list(self.stub.changes(since, int(options["limit"]), documents=documents))
        last = json.dumps(self.stub.place(since + len(rows))).encode()
        self._say(200, b'{"results":[\n' + b",\n".join(rows) + b'\n],\n"last_seq":' + last + b"}")

    def _go_on(self, since: int) -> None:
        """The continuous feed."""
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        left = self.stub.cuts.popleft() if self.stub.cuts else 1 << 40
        while left and not self.server._BaseServer__shutdown_request:  # type: ignore[attr-defined]
            lines = list(self.stub.changes(since, 100, documents=True)) if not self.stub.silent else []
            data = b"".join(line + b"\n" for line in lines) or (b"" if self.stub.silent else b"\n")
            since += len(lines)
            try:
                self.wfile.write(data[:left])
                self.wfile.flush()
            except OSError:
                return
            left -= min(left, len(data))
            time.sleep(self.stub.beats)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class _Listener(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Clients break off; that is no error here."""


@contextmanager
def serving(stub: Stub) -> Iterator[Stub]:
    """The stub, answering."""
    listener = _Listener(("127.0.0.1", 0), type("Handler", (_Handler,), {"stub": stub}))
    stub.url = f"couchdb://127.0.0.1:{listener.server_address[1]}/logins"
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield stub
    finally:
        listener.shutdown()
        thread.join()
        listener.server_close()
