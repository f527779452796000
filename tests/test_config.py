"""Settings come from amiss.toml, and every mistake in it is told at once, with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from amiss import config
from amiss.errors import ConfigError, UsageError


def mistakes(text: str) -> list[str]:
    """The lines of the message that the text earns."""
    with pytest.raises(ConfigError) as caught:
        config.parse(text)
    return str(caught.value).splitlines()


def test_no_file_means_the_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Without amiss.toml the settings are the defaults."""
    monkeypatch.chdir(tmp_path)
    assert config.load() == config.Settings()


def test_amiss_toml_in_the_working_directory_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The file amiss.toml needs no option."""
    monkeypatch.chdir(tmp_path)
    Path("amiss.toml").write_text('[scan]\nbudget = "3/day"\n', encoding="utf-8")
    assert config.load().scan.budget == "3/day"


def test_a_file_that_is_named_must_exist(tmp_path: Path):
    """A missing file is an error that says so."""
    with pytest.raises(ConfigError, match=r"none\.toml: .*No such file"):
        config.load(tmp_path / "none.toml")


def test_a_file_that_is_not_text_is_refused(tmp_path: Path):
    """Bytes that are not UTF-8 are an error, not a crash."""
    file = tmp_path / "amiss.toml"
    file.write_bytes(b"\xff\xfe[scan]")
    with pytest.raises(ConfigError, match="not UTF-8"):
        config.load(file)


def test_all_sections_are_read():
    """Columns, times, the scan and detectors can all be set."""
    settings = config.parse(
        """
        [fields]
        timezone = "Europe/Paris"
        year = 2025
        user = "uid"
        [scan]
        learn = ["past.jsonl"]
        session_gap = "1h"
        fail_on = "high"
        [detector.sequence]
        cap = 3
        """
    )
    assert settings.fields.timezone == "Europe/Paris"
    assert settings.fields.choice().pinned() == {"user": "uid"}
    assert settings.scan.learn == ["past.jsonl"]
    assert settings.scan.fail_on == "high"
    assert settings.detector == {"sequence": {"cap": 3}}


def test_every_mistake_is_listed_with_its_line():
    """Five mistakes give five lines, in the order of the file."""
    text = """[scan]
bugdet = "3/day"
top = 0
budget = "often"
[fields]
usr = "uid"
[detector.sequence]
caps = 3
"""
    found = mistakes(text)
    assert [line.split(" ")[0] for line in found] == [f"amiss.toml:{number}:" for number in (2, 3, 4, 6, 8)]
    assert found[0] == 'amiss.toml:2: [scan] has no setting "bugdet". Did you mean "budget"?'


def test_an_unknown_setting_without_a_near_name_lists_the_known_ones():
    """A name that is like nothing gets the list."""
    [line] = mistakes("[scan]\nxyzzy = 1\n")
    assert line.startswith('amiss.toml:2: [scan] has no setting "xyzzy". Known: learn, detectors')


def test_an_unknown_section_names_the_nearest():
    """A misspelt section is told by the line of its header."""
    assert mistakes("\n\n[scna]\ntop = 3\n") == [
        'amiss.toml:3: there is no section or setting "scna". Did you mean "scan"?'
    ]


def test_an_unknown_detector_names_the_known_ones():
    """A detector that does not exist is a mistake in a section and in a list."""
    found = mistakes('[scan]\ndetectors = ["sequenc"]\n[detector.sequnce]\ncap = 1\n')
    assert [line.split(": ")[0] for line in found] == ["amiss.toml:2", "amiss.toml:3"]
    assert all('Did you mean "sequence"?' in line for line in found)


def test_a_value_of_the_wrong_type_is_told_with_what_was_found():
    """A text where a number belongs is refused and shown."""
    [line] = mistakes('[detector.sequence]\ncap = "many"\n')
    assert line.startswith("amiss.toml:2: [detector.sequence] cap: input should be a valid integer")
    assert "'many'" in line


def test_text_that_is_not_toml_is_told_with_its_line():
    """The line of a syntax error is the reader's."""
    [line] = mistakes("[scan]\ntop = = 3\n")
    assert line.startswith("amiss.toml:2: this is not TOML")


def test_a_list_where_a_table_belongs_is_a_mistake_not_a_crash():
    """Sections of the wrong kind are refused."""
    assert mistakes("scan = 3\ndetector = []\n[[fields]]\n")


@pytest.mark.parametrize(("text", "seconds"), [("30m", 1800.0), ("90s", 90.0), ("1.5h", 5400.0), ("1d", 86400.0)])
def test_durations_have_a_number_and_a_unit(text: str, seconds: float):
    """Durations are read into seconds."""
    assert config.seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "m", "0m", "-5m", "30 minutes", "900000000d"])
def test_what_is_no_duration_is_refused(text: str):
    """Texts without a number or a unit, and no time at all, are errors."""
    with pytest.raises(UsageError, match="duration"):
        config.seconds(text)


def test_detectors_take_their_parameters():
    """A parameter of a section reaches the detector; the common cap fills in where none is given."""
    [own] = config.detectors(["sequence"], {"sequence": {"cap": 3}}, cap=7)
    [common] = config.detectors(["sequence"], {}, cap=7)
    assert (own.cap, common.cap) == (3, 7)


@pytest.mark.parametrize("setting", ['timezone = "Mars/Base"', 'time_format = "sundial"', "year = 99999"])
def test_how_times_are_read_is_checked_at_once(setting: str):
    """A zone, a format or a year that cannot be is a mistake of the file, told with its line."""
    with pytest.raises(ConfigError, match=r"amiss\.toml:2: "):
        config.parse(f"[fields]\n{setting}")


def test_every_role_and_the_time_format_may_be_pinned():
    """Optional roles are settings like the main ones."""
    text = '[fields]\nip = "src"\ncountry = "land"\namount_cents = "sum"\ntime_format = "epoch_ms"'
    choice = config.parse(text).fields.choice()
    assert (choice.ip, choice.country, choice.amount_cents, choice.time_format) == ("src", "land", "sum", "epoch_ms")


@pytest.mark.parametrize("cap", [0, -3, 10**20])
def test_a_cap_that_is_no_count_is_refused(cap: int):
    """A cap below 1, or beyond all counts, is an error with what was expected."""
    with pytest.raises(UsageError, match=f"expected 1 to 1,000,000,000, found {cap}"):
        config.detectors(["sequence", "habit"], {}, cap=cap)


def test_parameters_of_an_unknown_detector_are_refused():
    """Parameters under a misspelt name do not disappear."""
    with pytest.raises(UsageError, match='Did you mean "sequence"'):
        config.detectors(["sequence"], {"sequense": {"cap": 3}})


def test_a_detector_that_is_unknown_gets_the_nearest_name():
    """A misspelt detector is an error with a hint."""
    with pytest.raises(UsageError, match='Did you mean "sequence"'):
        config.detectors(["sequenc"], {})


def test_a_parameter_that_is_unknown_gets_the_nearest_name():
    """A misspelt parameter is an error with a hint, also from Python."""
    with pytest.raises(UsageError, match=r'has no setting "caps"\. Did you mean "cap"'):
        config.detectors(["sequence"], {"sequence": {"caps": 3}})
