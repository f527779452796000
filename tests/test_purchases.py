"""`amiss purchases`: a batch, a stream, and what is flagged."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import naive_purchases as naive
from typer.testing import CliRunner, Result

from amiss.cli import app
from amiss.errors import SourceError
from amiss.purchases import Logs, Unreadable, in_cents, lines, rule_of

TIES = (
    '{"event_type":"befriend", "timestamp":"2017-06-13 11:33:01", "id1": "1", "id2": "2"}',
    '{"event_type":"befriend", "timestamp":"2017-06-13 11:33:01", "id1": "3", "id2": "1"}',
)


def purchase(user: object, amount: object, time: str = "2017-06-13 11:33:01", **more: object) -> str:
    """A purchase as the logs hold it."""
    return json.dumps({"event_type": "purchase", "timestamp": time, "id": user, "amount": amount} | more)


BATCH = "\n".join(
    ['{"D":"2", "T":"50"}', *TIES, purchase("1", "16.83"), purchase("1", "59.28"), purchase("3", "11.20")]
)
LARGE = purchase("2", "1601.83")
FLAGGED = {**json.loads(LARGE), "mean": "29.10", "sd": "21.46"}


def run(tmp_path: Path, batch: str | bytes, stream: str | bytes, *options: str) -> Result:
    """What the command says, with these logs."""
    for name, text in (("batch", batch), ("stream", stream)):
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    places = [str(tmp_path / name) for name in ("batch", "stream", "flagged")]
    return CliRunner().invoke(app, ["purchases", *places, *options])


def flagged(tmp_path: Path) -> list[dict[str, object]]:
    """What was flagged."""
    return [json.loads(line) for line in (tmp_path / "flagged").read_text().splitlines()]


def found(tmp_path: Path, batch: str | bytes, stream: str | bytes, *options: str) -> list[dict[str, object]]:
    """What is flagged, with these logs."""
    result = run(tmp_path, batch, stream, *options)
    assert result.exit_code == 0, result.output
    return flagged(tmp_path)


def cases(shared: Path) -> list[Path]:
    """The directories of cases."""
    return sorted((shared / "purchases" / "cases").iterdir())


def test_all_cases_of_the_author_come_out(shared_data: Path, tmp_path: Path):
    """Each folder holds a batch, a stream, and what is to be flagged."""
    for case in cases(shared_data):
        wanted = [json.loads(line) for line in (case / "flagged_purchases.json").read_text().splitlines()]
        batch, stream = ((case / name).read_bytes() for name in ("batch_log.json", "stream_log.json"))
        assert found(tmp_path, batch, stream) == wanted, case.name


@pytest.mark.parametrize("degrees", [2, 3])
def test_the_sample_of_the_challenge_comes_out(shared_data: Path, tmp_path: Path, degrees: int):
    """Ten thousand events of one second, byte for byte, with the keys in order."""
    place = shared_data / "purchases" / "real"
    batch = b'{"D":"%d", "T":"50"}\n' % degrees + (place / "batch_log.json").read_bytes().split(b"\n", 1)[1]
    found(tmp_path, batch, (place / "stream_log.json").read_bytes())
    assert (tmp_path / "flagged").read_bytes() == (place / f"flagged_D{degrees}_T50.json").read_bytes()


def test_friendships_that_never_were_break_nothing(shared_data: Path, tmp_path: Path):
    """Parts of logs, with friends who part and never met."""
    place = shared_data / "purchases" / "real"
    logs = [(place / f"{name}_log_unclean.json").read_bytes() for name in ("batch", "stream")]
    assert len(found(tmp_path, *logs)) == 11


def test_a_large_purchase_is_flagged_with_mean_and_sd(tmp_path: Path):
    """Keys come in the order of the log, the two numbers behind them, cut off and not rounded."""
    result = run(tmp_path, BATCH, LARGE)
    assert (result.exit_code, result.output) == (0, "")
    assert (tmp_path / "flagged").read_text() == f"{json.dumps(FLAGGED)}\n"


def test_the_file_is_there_even_when_nothing_is_flagged(tmp_path: Path):
    """It is empty, also where it was not before."""
    (tmp_path / "flagged").write_text("old\n")
    assert found(tmp_path, BATCH, "") == []
    assert (tmp_path / "flagged").read_text() == ""


def test_append_keeps_what_was_flagged_before(tmp_path: Path):
    """New lines come behind the old ones."""
    (tmp_path / "flagged").write_text('{"old": 1}\n')
    assert found(tmp_path, BATCH, LARGE, "--append") == [{"old": 1}, FLAGGED]


def test_flagged_purchases_go_to_stdout_at_a_dash(tmp_path: Path):
    """And nothing else does."""
    run(tmp_path, BATCH, LARGE)
    result = CliRunner().invoke(app, ["purchases", str(tmp_path / "batch"), str(tmp_path / "stream"), "-", "-v"])
    assert result.stdout == f"{json.dumps(FLAGGED)}\n"
    assert "1 flagged" in result.stderr


def test_totals_and_decisions_are_told_when_asked_for(tmp_path: Path):
    """-v counts, -vv tells of each purchase."""
    stream = f"{LARGE}\n{purchase('9', '1.00')}\n{purchase('3', '30.00')}\n"
    read = "5 events of the batch; 3 of the stream, 3 of them purchases"
    totals = f"{read}; 4 users with 2 friendships at the end; 1 flagged\n"
    assert run(tmp_path, BATCH, stream, "-v").output == totals
    assert run(tmp_path, BATCH, stream, "-vv").output == (
        "line 1: 2 bought for 1601.83; mean 29.10, sd 21.46 of 3 purchases: flagged\n"
        "line 2: 9 bought for 1.00; the network bought less than twice: not judged\n"
        "line 3: 3 bought for 30.00; mean 559.31, sd 737.37 of 3 purchases: not flagged\n" + totals
    )


def test_lines_that_are_no_events_are_passed_over_and_told(tmp_path: Path):
    """What they are and where they stand; the purchase behind them is judged."""
    bad = [
        "hello",
        "[1]",
        '{"event_type":"gift", "timestamp":"2017-06-13 11:33:02", "id": "1"}',
        purchase("1", "abc"),
        purchase("1", "1.005"),
        purchase("1", None),
        purchase("1", True),
        purchase(None, "5.00"),
        purchase("1", "5.00", time="soon"),
        '{"event_type":"befriend", "id1": "1"}',
    ]
    assert found(tmp_path, BATCH, "\n".join([*bad, LARGE])) == [FLAGGED]
    output = run(tmp_path, BATCH, "\n".join([*bad, LARGE]), "-v").output
    assert "10 lines are no events: not JSON (1), not an object (1), event_type is none of" in output
    assert "stream:1: not JSON: hello\n" in output
    assert "stream:5: amount has fractions of a cent: " in output
    assert "stream:10: id2 is missing: " in output


def test_strict_stops_at_the_first_line_that_is_no_event(tmp_path: Path):
    """The message says where."""
    result = run(tmp_path, BATCH, "\nhello\n", "--strict")
    assert isinstance(result.exception, SourceError)
    assert str(result.exception).endswith("stream:2: not JSON. Leave out --strict to pass over such lines")


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("\n", "\n\n \n"),
        lambda text: text.replace("\n", ""),
        lambda text: f"\ufeff{text}\n\n",
        lambda text: text.replace("}\n{", "} {"),
    ],
    ids=["crlf", "blank lines", "no line ends", "byte order mark", "spaces"],
)
def test_lines_may_end_as_they_like(tmp_path: Path, change):
    """Windows ends, blank lines, and objects that follow at once."""
    stream = "\n".join([LARGE, purchase("3", "9.00"), LARGE])
    second = {**json.loads(LARGE), "mean": "24.07", "sd": "20.52"}
    assert found(tmp_path, change(BATCH), change(stream)) == [FLAGGED, second]


def test_an_object_cut_off_costs_only_itself(tmp_path: Path):
    """What stands before it on the line counts."""
    assert found(tmp_path, BATCH, f'{LARGE}{{"event_type":"purch') == [FLAGGED]


def test_amounts_may_be_numbers_and_of_any_size(tmp_path: Path):
    """What is flagged shows the amount as it was written."""
    stream = (
        '{"event_type":"purchase", "timestamp":"2017-06-13 11:33:02", "id": 2, "amount": 99999999999999999999999.90}\n'
        + purchase("2", "-99999999999999999999999.99")
        + "\n"
        + purchase("1", "1e3")
    )
    first, second = found(
        tmp_path, BATCH.replace('"D":"2"', '"D":"1"'), stream + purchase("3", "12345678901234567890.00")
    )
    assert (first["mean"], first["sd"]) == ("38.05", "21.22")
    assert '"amount": 99999999999999999999999.90, "mean"' in (tmp_path / "flagged").read_text()
    assert second["id"] == "3"


def test_older_purchases_that_come_late_do_not_displace_newer_ones(tmp_path: Path):
    """The last two are by time: the one that came last is the oldest."""
    batch = [
        '{"D":"1", "T":"2"}',
        *TIES,
        purchase("1", "10.00"),
        purchase("1", "20.00"),
        purchase("1", "900", "2016-01-01"),
    ]
    (one,) = found(tmp_path, "\n".join(batch), LARGE)
    assert (one["mean"], one["sd"]) == ("15.00", "5.00")


def test_times_in_other_zones_compare(tmp_path: Path):
    """One in the afternoon in Paris is before noon in London."""
    batch = ['{"D":"1", "T":"2"}', *TIES, purchase("1", "10.00", "2017-06-13T12:00:00+01:00")]
    batch += [purchase("1", "20.00", "2017-06-13 11:30:00"), purchase("1", "90.00", "2017-06-13T12:30:00+02:00")]
    (one,) = found(tmp_path, "\n".join(batch), LARGE)
    assert one["mean"] == "15.00"


def test_medians_do_not_move_for_one_large_purchase(tmp_path: Path):
    """With --robust the second large purchase stands out as the first did, though the first joined the network's."""
    batch = ['{"D":"1", "T":"9"}', *TIES, *[purchase("1", f"{cents}.00") for cents in (10, 11, 12, 13, 900)]]
    assert found(tmp_path, "\n".join(batch), purchase("2", "500")) == []
    (one,) = found(tmp_path, "\n".join(batch), purchase("2", "500"), "--robust")
    assert (one["mean"], one["sd"]) == ("12.00", "1.48")


def test_purchases_compare_within_their_currency(tmp_path: Path):
    """A thousand yen is little among yen and much among dollars."""
    yen = [purchase("1", f"{1000 + cents}", currency="JPY") for cents in range(3)]
    dollars = [purchase("1", f"{10 + cents}", currency="USD") for cents in range(3)]
    batch = "\n".join(['{"D":"1", "T":"9"}', *TIES, *yen, *dollars])
    stream = "\n".join(purchase("2", "1001", currency=currency) for currency in ("JPY", "USD"))
    assert found(tmp_path, batch, stream) == []
    (one,) = found(tmp_path, batch, stream, "--by", "currency")
    assert (one["currency"], one["mean"]) == ("USD", "11.00")


@pytest.mark.parametrize("first", ["", "hello", '{"D":"x", "T":"50"}', '{"D":"2"}', '{"D":"-1", "T":"2"}', LARGE])
def test_a_batch_must_say_how_to_judge(tmp_path: Path, first: str):
    """Without D and T nothing can be judged; the message shows how they are given."""
    result = run(tmp_path, first, LARGE)
    assert isinstance(result.exception, SourceError)
    assert 'such as {"D":"3", "T":"50"}. Found: ' in str(result.exception)


def test_logs_are_not_written_over(tmp_path: Path):
    """FLAGGED may not be a log."""
    run(tmp_path, BATCH, LARGE)
    place = str(tmp_path / "stream")
    result = CliRunner().invoke(app, ["purchases", str(tmp_path / "batch"), place, place])
    assert "is both read and written" in str(result.exception)
    assert Path(place).read_text() == LARGE


def test_what_is_not_there_is_told(tmp_path: Path):
    """A log that is missing, and a place that cannot be written."""
    run(tmp_path, BATCH, LARGE)
    batch, stream = (str(tmp_path / name) for name in ("batch", "stream"))
    for places, text in (
        ([batch, f"{stream}x", "-"], "cannot be read: No such"),
        ([batch, stream, "/no/x"], "cannot be written"),
    ):
        assert text in str(CliRunner().invoke(app, ["purchases", *places]).exception)


def test_a_stream_is_judged_as_it_comes(tmp_path: Path):
    """However few bytes come at once, the same is flagged."""
    text = "\n".join([LARGE, purchase("3", "9.00"), LARGE]).encode()

    class Drops:
        """A stream that gives seven bytes at a time."""

        def __init__(self) -> None:
            self._at = 0

        def read(self, _: int) -> bytes:
            self._at += 7
            return text[self._at - 7 : self._at]

    (tmp_path / "batch").write_text(BATCH)
    with (tmp_path / "batch").open("rb") as batch:
        rule, rest = rule_of(lines(batch), "batch")
        logs = Logs(rule)
        assert list(logs.learn(rest, "batch"))[-1] == 5
    pieces = [each.decision.line for piece in logs.judge(lines(Drops()), "stream") for each in piece]
    assert pieces == [1, 3]


@pytest.mark.parametrize(
    ("text", "cents"), [("16.83", 1683), (".5", 50), ("+7", 700), ("-0.01", -1), ("1E2", 10000), ("2.500", 250)]
)
def test_amounts_are_read_to_the_cent(text: str, cents: int):
    """In any way to write decimals."""
    assert in_cents(text) == cents


@pytest.mark.parametrize("text", ["", "$5", "1,000.00", "nan", "inf", "0x10", "٣", "1e9999", "5 ", "1.005"])
def test_what_is_no_amount_is_refused(text: str):
    """Neither guessed nor rounded."""
    with pytest.raises(Unreadable):
        in_cents(text)


moments = st.sampled_from(["2017-06-13 11:33:01", "2017-06-13 11:33:02", "2016-01-01 00:00:00"])
amounts = st.integers(-300, 99999).map(lambda cents: str(Decimal(cents) / 100)) | st.sampled_from(
    [
        "10.00",
        "10.0",
        "1e3",
        "90071992547409.93",
        "1000000000000000.01",
        "46116860184273879.04",
        "99999999999999999999999",
        7,
    ]
)
people = st.integers(1, 6).map(str) | st.integers(1, 6)
bought = st.fixed_dictionaries(
    {"event_type": st.just("purchase"), "timestamp": moments, "id": people, "amount": amounts},
    optional={"note": st.sampled_from([None, {"a": [1, "}{"]}, "\u00fc\n", True])},
)
tied = st.fixed_dictionaries(
    {"event_type": st.sampled_from(["befriend", "befriend", "unfriend"]), "id1": people, "id2": people}
)
no_events = st.sampled_from(
    [
        "{",
        "[]",
        "null",
        "x",
        '{"event_type":"purchase"}',
        '{"event_type": "purch',
        "\x00",
        '{"D":"1", "T":"3"}',
        '"\ud800"',
    ]
)
ends = st.sampled_from(["\n", "\r\n", "\n\n \n", "", " ", "\r", "\t"])


@st.composite
def written(draw, least: int = 0):
    """Events, and a log in which they stand among blank lines, other line ends and what is no event."""
    events, text = draw(st.lists(bought | tied, min_size=least, max_size=25)), ""
    for event in events:
        bad = draw(st.none() | no_events) if draw(st.integers(0, 4)) == 0 else None
        text += f"\n{bad}\n" if bad else ""
        text += json.dumps(event, separators=draw(st.sampled_from([(",", ":"), (", ", ": ")]))) + draw(ends)
    return events, text.encode("utf-8", "surrogatepass")


@given(batch=written(), stream=written(least=3), rule=st.tuples(st.integers(1, 5), st.integers(0, 6), st.booleans()))
@settings(max_examples=25, deadline=None)
def test_whatever_the_logs_hold_what_is_flagged_is_what_fractions_flag(
    tmp_path_factory: pytest.TempPathFactory, batch, stream, rule
):
    """A slow reading of the rule, with sets, sorting, fractions and roots of 99 digits, writes the same bytes."""
    (degrees, last, quoted), place = rule, tmp_path_factory.mktemp("logs")
    first = json.dumps({"D": str(degrees), "T": str(last)} if quoted else {"D": degrees, "T": last})
    assert run(place, first.encode() + b"\n" + batch[1], stream[1]).exit_code == 0
    wanted = naive.flagged(batch[0], stream[0], degrees, last)
    assert (place / "flagged").read_text().splitlines() == wanted


@pytest.mark.parametrize("more", [f'"note": {"[" * 700}{"]" * 700}', f'"note": {"1" * 5000}', '"note": "\xff"'])
def test_what_is_beside_a_purchase_may_be_anything(tmp_path: Path, more: str):
    """A thousand brackets, numbers without end and bytes that are no text do not hide that it is large."""
    stream = LARGE.replace("{", f"{{{more}, ").encode("latin-1")
    assert run(tmp_path, BATCH, stream, "-vv").exit_code == 0
    assert (tmp_path / "flagged").read_text().endswith('"mean": "29.10", "sd": "21.46"}\n')


def test_an_amount_without_end_is_told_and_not_taken(tmp_path: Path):
    """Five thousand digits are no amount."""
    result = run(tmp_path, BATCH, f"{purchase('2', '1' * 5000)}\n{LARGE}")
    assert "1 line is no event: amount is longer than 1,000 characters (1)" in result.output
    assert flagged(tmp_path) == [FLAGGED]


def test_a_network_may_reach_and_remember_without_end(tmp_path: Path):
    """D and T beyond all bounds mean everybody and everything."""
    assert found(tmp_path, BATCH.replace('"D":"2", "T":"50"', f'"D":"{10**30}", "T":"{10**30}"'), LARGE) == [FLAGGED]


def test_what_stands_behind_an_object_costs_only_itself(tmp_path: Path):
    """The purchase counts, and what follows it on the line is told."""
    assert "stream:1: not JSON: , oops" in run(tmp_path, BATCH, f"{LARGE}, oops").output
    assert flagged(tmp_path) == [FLAGGED]
