"""Figures of a watch, scraped over HTTP as Prometheus does."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import pytest
from prometheus_client.parser import text_string_to_metric_families as families

from amiss.errors import UsageError
from amiss.metrics import MOST_REASONS, Metrics, Served, where

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
MIDNIGHT = datetime(2026, 3, 2, tzinfo=UTC)


@pytest.fixture
def metrics() -> Metrics:
    """Figures of a watch that runs at noon."""
    return Metrics(now=lambda: NOON)


@pytest.fixture
def served(metrics: Metrics) -> Iterator[Served]:
    """The figures, at a free port."""
    with metrics.serve("127.0.0.1:0") as server:
        yield server


def scraped(served: Served, accept: str = "") -> str:
    """What a scrape gets."""
    request = urllib.request.Request(served.url, headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read().decode()


def figures(served: Served) -> dict[str, float]:
    """Samples by name and labels, without when they were made."""
    samples = [sample for family in families(scraped(served)) for sample in family.samples]
    return {
        " ".join([sample.name, *sample.labels.values()]): sample.value
        for sample in samples
        if not sample.name.endswith("_created")
    }


def test_what_a_watch_tells_can_be_scraped(metrics: Metrics, served: Served):
    """Counts add up; states are the latest; the lag is reckoned when it is asked for."""
    metrics.batch(events=10, seconds=0.02, rejected={"not JSON": 2, "not CSV: line 7": 1}, users=5, newest=NOON)
    metrics.batch(
        events=5, seconds=20.0, rejected={"not CSV: line 9": 1}, skipped={"blank": 3}, users=7,
        newest=NOON - timedelta(minutes=2),
    )  # fmt: skip
    metrics.alerts(["high", "high", "low"], hidden=2)
    metrics.period(date(2026, 3, 2), threshold=11.5, expected=1.0, actual=0.25)
    metrics.outbox("https://example.com/…#c7497b", pending=4, dead=1)
    metrics.outbox("https://example.com/…#c7497b", pending=3, dead=1)
    found = figures(served)
    expected = {
        "amiss_events_total": 15, "amiss_batches_total": 2, "amiss_rejected_total not JSON": 2,
        "amiss_rejected_total not CSV": 2, "amiss_skipped_total blank": 3, "amiss_users": 7, "amiss_lag_seconds": 0,
        "amiss_last_commit_timestamp_seconds": NOON.timestamp(), "amiss_commit_seconds_count": 2,
        "amiss_commit_seconds_sum": 20.02, "amiss_commit_seconds_bucket 0.025": 1,
        "amiss_commit_seconds_bucket +Inf": 2, "amiss_alerts_total high": 2, "amiss_alerts_total low": 1,
        "amiss_alerts_hidden_total": 2, "amiss_threshold_bits": 11.5, "amiss_expected_alarms_per_day": 1,
        "amiss_actual_alarms_per_day": 0.25, "amiss_period_start_timestamp_seconds": MIDNIGHT.timestamp(),
        "amiss_outbox_alerts https://example.com/…#c7497b pending": 3,
        "amiss_outbox_alerts https://example.com/…#c7497b dead": 1,
    }  # fmt: skip
    assert {name: found.get(name) for name in expected} == expected


def test_what_is_not_known_yet_is_no_number(served: Served):
    """A watch that has just begun has no lag of 50 years."""
    found = figures(served)
    for name in ("lag_seconds", "users", "threshold_bits", "actual_alarms_per_day", "last_commit_timestamp_seconds"):
        assert found[f"amiss_{name}"] != found[f"amiss_{name}"]


def test_the_lag_grows_while_nothing_comes():
    """It is that of the clock at the scrape."""
    clock = [NOON]
    metrics = Metrics(now=lambda: clock[0])
    metrics.batch(events=1, seconds=0.1, newest=NOON)
    clock[0] += timedelta(seconds=3)
    assert "amiss_lag_seconds 3.0" in metrics.text()


def test_reasons_that_logs_choose_do_not_become_ever_more_series(metrics: Metrics, served: Served):
    """Behind so many they count as other; their characters are harmless."""
    metrics.batch(events=0, seconds=0.1, rejected={"bad\n\x1b[2J": 1} | {f"reason {n}": 1 for n in range(100)})
    found = {name: value for name, value in figures(served).items() if name.startswith("amiss_rejected_total")}
    assert len(found) == MOST_REASONS + 1
    assert found["amiss_rejected_total other"] == 101 - MOST_REASONS
    assert "\x1b" not in scraped(served)


def test_two_watches_have_figures_of_their_own(metrics: Metrics):
    """Nothing is shared between them."""
    other = Metrics()
    metrics.batch(events=3, seconds=0.1)
    assert "amiss_events_total 3.0" in metrics.text()
    assert "amiss_events_total 0.0" in other.text()


def test_a_scrape_gets_the_format_that_it_accepts(served: Served):
    """OpenMetrics too, which ends with a mark."""
    assert scraped(served, "application/openmetrics-text; version=1.0.0").endswith("# EOF\n")
    assert not scraped(served, "text/plain").endswith("# EOF\n")


def test_other_pages_are_not_found(served: Served):
    """The answer says where the figures are."""
    with pytest.raises(urllib.error.HTTPError) as raised:
        urllib.request.urlopen(served.url.replace("/metrics", "/secrets"), timeout=10)
    assert raised.value.code == 404
    assert b"/metrics" in raised.value.read()
    raised.value.close()


def test_clients_that_hang_or_go_away_hold_up_nobody(served: Served, capfd: pytest.CaptureFixture[str]):
    """Each has a thread; nothing is printed."""
    place = ("127.0.0.1", served.port)
    with socket.create_connection(place) as silent, socket.create_connection(place) as rude:
        silent.sendall(b"GET /metrics HT")
        rude.sendall(b"\x00\xff\r\n\r\n")
        assert "amiss_events_total" in scraped(served)
    assert capfd.readouterr().err == ""


def test_scrapes_and_batches_at_once_lose_nothing(metrics: Metrics, served: Served):
    """Counts are right after threads wrote and read together."""

    def write() -> None:
        for _ in range(500):
            metrics.batch(events=1, seconds=0.001, rejected={"not JSON": 1})

    writers = [threading.Thread(target=write) for _ in range(3)]
    for writer in writers:
        writer.start()
    scraped(served)
    for writer in writers:
        writer.join()
    assert figures(served)["amiss_rejected_total not JSON"] == 1_500


def test_serving_ends_when_closed(metrics: Metrics):
    """The port is free again, also for the next one at once."""
    first = metrics.serve("127.0.0.1:0")
    first.close()
    first.close()
    with pytest.raises(urllib.error.URLError):
        scraped(first)
    with metrics.serve(f"127.0.0.1:{first.port}") as second:
        assert "amiss_events_total" in scraped(second)


def test_a_port_that_is_taken_is_refused(metrics: Metrics, served: Served):
    """The message says what to give instead."""
    with pytest.raises(UsageError, match=rf"cannot be served at 127.0.0.1:{served.port} .*in use.*Give an address"):
        metrics.serve(f"127.0.0.1:{served.port}")


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid", "a" * 300])
def test_a_host_that_is_not_this_machine_is_refused(metrics: Metrics, host: str):
    """Whatever the system says of it."""
    with pytest.raises(UsageError, match="metrics cannot be served at"):
        metrics.serve(f"{host}:0")


@pytest.mark.parametrize(
    "address", ["", ":", "localhost", "127.0.0.1:", "127.0.0.1:x", ":99999", "::1:80", "http://h:1/", "h:-1", "a b:1"]
)
def test_an_address_that_makes_no_sense_is_refused(address: str):
    """With an example of one that does."""
    with pytest.raises(UsageError, match=r"expected HOST:PORT, such as 127\.0\.0\.1:9464"):
        where(address)


def test_without_a_host_only_this_machine_is_served(metrics: Metrics):
    """Figures do not leave the machine unless told."""
    with metrics.serve("0") as served:
        assert served.url == f"http://127.0.0.1:{served.port}/metrics"


def test_the_library_is_loaded_when_figures_are_wanted():
    """And where it lacks, the message says how to install it."""
    code = """
import sys
import amiss.metrics
assert "prometheus_client" not in sys.modules
sys.modules["prometheus_client"] = None
try:
    amiss.metrics.Metrics()
except amiss.errors.MissingExtraError as error:
    print(error)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout == '--metrics needs an optional part. Install it: pip install "amiss[metrics]"\n'
