"""Figures of a watch for Prometheus, over HTTP. Needs `pip install "amiss[metrics]"`."""

from __future__ import annotations

import logging
import math
import re
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, time
from datetime import date as Date  # noqa: N812 - an argument is called `day`, and a type must not hide it
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from types import TracebackType
from typing import Final, Self

from amiss.errors import MissingExtraError, UsageError
from amiss.escape import label

LOOPBACK: Final = "127.0.0.1"
"""Where figures are served unless another host is given."""

MOST_REASONS: Final = 20
"""Reasons that are told apart; others count as `other`, since logs choose some of the words."""

COMMIT_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""The upper bounds of the histogram of commits."""

PATIENCE_SECONDS: Final = 10.0
"""How long a client may take over its request."""

_ADDRESS: Final = re.compile(r"(?:(?P<host>\[[^\[\]]+\]|[^:\[\]\s/]*):)?(?P<port>\d{1,5})", re.ASCII)
_LOG: Final = logging.getLogger(__name__)


class Metrics:
    """Figures of one watch, from its start on; whatever thread may write and read them.

    Parameters
    ----------
    now
        The time.

    Raises
    ------
    MissingExtraError
        If the library of Prometheus is not installed.

    Examples
    --------
    >>> metrics = Metrics()
    >>> metrics.batch(events=9_999, seconds=0.02, rejected={"not JSON": 1}, users=1_200)
    >>> print(metrics.text())
    # HELP amiss_events_total Events that were scored and committed.
    # TYPE amiss_events_total counter
    amiss_events_total 9999.0
    ...
    """

    def __init__(self, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        try:
            from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
        except ImportError as error:
            raise MissingExtraError("--metrics", "metrics") from error
        self._registry = CollectorRegistry()
        self._now = now
        self._newest: datetime | None = None
        self._reasons: set[str] = set()

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"amiss_{name}", text, labels, registry=self._registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"amiss_{name}", text, labels, registry=self._registry)

        self._events = counter("events", "Events that were scored and committed.")
        self._rejected = counter("rejected", "Rows that could not be read, by reason.", "reason")
        self._skipped = counter("skipped", "Lines that are no events, by reason.", "reason")
        self._batches = counter("batches", "Batches that were committed.")
        self._seconds = Histogram(
            "amiss_commit_seconds", "Seconds to score and commit a batch.", registry=self._registry,
            buckets=COMMIT_SECONDS,
        )  # fmt: skip
        self._lag = gauge("lag_seconds", "Seconds since the newest event by its own time.")
        self._lag.set_function(self._lag_seconds)
        self._committed = gauge("last_commit_timestamp_seconds", "When a batch was last committed.")
        self._users = gauge("users", "Users in state.")
        self._alerts = counter("alerts", "Notices that were raised, by severity.", "severity")
        self._hidden = counter("alerts_hidden", "Notices that a suppression kept from the sinks.")
        self._outbox = gauge("outbox_alerts", "Alerts on their way to a sink, or given up.", "sink", "state")
        self._threshold = gauge("threshold_bits", "Bits that an alert needs in the open period.")
        self._expected = gauge("expected_alarms_per_day", "Alarms that chance gives at the threshold, at most.")
        self._actual = gauge("actual_alarms_per_day", "Alarms that closed periods had lately, on average.")
        self._period = gauge("period_start_timestamp_seconds", "When the open period began.")
        for unknown in (self._committed, self._users, self._threshold, self._expected, self._actual, self._period):
            unknown.set(math.nan)

    def batch(
        self,
        *,
        events: int,
        seconds: float,
        rejected: Mapping[str, int] | None = None,
        skipped: Mapping[str, int] | None = None,
        newest: datetime | None = None,
        users: int | None = None,
    ) -> None:
        """A batch was committed.

        Parameters
        ----------
        events
            How many it had.
        seconds
            How long it took to score and commit.
        rejected, skipped
            Rows by reason; what follows a colon in a reason does not count.
        newest
            The latest time of an event so far.
        users
            How many are in state.
        """
        self._batches.inc()
        self._events.inc(events)
        self._seconds.observe(seconds)
        self._committed.set(self._now().timestamp())
        for counts, counter in ((rejected, self._rejected), (skipped, self._skipped)):
            for reason, count in (counts or {}).items():
                counter.labels(self._class(reason)).inc(count)
        if newest is not None:
            self._newest = newest if self._newest is None else max(self._newest, newest)
        if users is not None:
            self._users.set(users)

    def alerts(self, severities: Iterable[str], *, hidden: int = 0) -> None:
        """Notices were raised, each with its severity; suppressions hid so many more."""
        for severity in severities:
            self._alerts.labels(severity).inc()
        self._hidden.inc(hidden)

    def period(self, day: Date, *, threshold: float, expected: float, actual: float | None = None) -> None:
        """A period opened, with this threshold in bits; `expected` and `actual` alarms are a day's."""
        self._period.set(datetime.combine(day, time(), UTC).timestamp())
        self._threshold.set(threshold)
        self._expected.set(expected)
        self._actual.set(math.nan if actual is None else actual)

    def outbox(self, sink: str, *, pending: int, dead: int) -> None:
        """So many alerts wait for a sink, named without secrets, and so many were given up."""
        for state, count in (("pending", pending), ("dead", dead)):
            self._outbox.labels(label(sink, 200), state).set(count)

    def text(self) -> str:
        """All figures, in the plain format of Prometheus."""
        from prometheus_client import generate_latest

        return generate_latest(self._registry).decode()

    def answer(self, accept: str) -> tuple[bytes, str]:
        """All figures in the format that a client accepts, and the name of that."""
        from prometheus_client.exposition import choose_encoder

        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type

    def serve(self, address: str) -> Served:
        """Give the figures to who asks, until closed.

        Parameters
        ----------
        address
            `HOST:PORT`, `[::1]:PORT` or just `PORT`, which is this machine's alone; port 0 takes a free one.

        Raises
        ------
        UsageError
            If the address is none, or cannot be listened on.
        """
        served = Served(self, *where(address))
        _LOG.info("metrics are at %s", served.url)
        return served

    def _lag_seconds(self) -> float:
        """How far the newest event lies behind the clock."""
        return math.nan if self._newest is None else (self._now() - self._newest).total_seconds()

    def _class(self, reason: str) -> str:
        """What kind a reason is of; only so many are told apart."""
        name = label(reason.partition(":")[0], 60)
        if len(self._reasons) < MOST_REASONS:
            self._reasons.add(name)
        return name if name in self._reasons else "other"


class Served:
    """Figures that are served on a thread of their own, until closed; `url` says where."""

    def __init__(self, metrics: Metrics, host: str, port: int) -> None:
        answer = type("Answer", (_Answer,), {"metrics": metrics})
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
            self._server = _Server(found[0], (str(found[4][0]), port), answer)
        except (OSError, UnicodeError) as error:
            raise UsageError(
                f"metrics cannot be served at {label(host)}:{port} ({label(str(error), 80)}). Give an address of this "
                "machine and a port that is free, such as 127.0.0.1:9464"
            ) from error
        place = str(self._server.server_address[0])
        self.port = int(self._server.server_address[1])
        self.url = f"http://{f'[{place}]' if ':' in place else place}:{self.port}/metrics"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="metrics", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End serving; closing twice does nothing more."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()


class _Server(ThreadingTCPServer):
    """A server of one kind of address."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, family: int, address: tuple[str, int], answer: type[BaseHTTPRequestHandler]) -> None:
        self.address_family = family
        super().__init__(address, answer)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is nobody's trouble."""
        _LOG.debug("a client of the metrics failed: %s %s", request, client_address, exc_info=True)


class _Answer(BaseHTTPRequestHandler):
    """The answer to one client."""

    metrics: Metrics
    timeout = PATIENCE_SECONDS
    server_version = "amiss"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer with figures, or that they are elsewhere."""
        if self.path.partition("?")[0] not in {"/", "/metrics"}:
            self.send_error(404, explain="The figures are at /metrics")
            return
        body, content_type = self.metrics.answer(self.headers.get("Accept") or "")
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in the standard library
        """Say nothing of each request, unless told to say everything."""
        _LOG.debug(format, *args)


def where(address: str) -> tuple[str, int]:
    """The host and the port of an address.

    Raises
    ------
    UsageError
        If it has none.

    Examples
    --------
    >>> where("0.0.0.0:9464"), where("9464"), where("[::1]:9464")
    (('0.0.0.0', 9464), ('127.0.0.1', 9464), ('::1', 9464))
    """
    match = _ADDRESS.fullmatch(address.strip())
    port = int(match["port"]) if match else 65_536
    if match is None or port > 65_535:
        raise UsageError(
            f'expected HOST:PORT, such as 127.0.0.1:9464, with a port up to 65535. Found: "{label(address)}"'
        )
    return (match["host"] or LOOPBACK).strip("[]"), port
