"""Browsers of simulated logins: which there are, when their versions came out, how they name themselves."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date as Date  # noqa: N812 - `date` is a name of parameters elsewhere
from datetime import timedelta
from functools import cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

EPOCH: Final = Date(1970, 1, 1)
NEVER: Final = 60.0
"""Who is more days late than this does not update at all, more or less."""

VERSIONS: Final = 1 << 10
VARIANTS: Final = 1 << 5

ANDROIDS: Final = ("13", "14", "15", "16")
MODELS: Final = (
    *("SM-S911B", "SM-S921B", "SM-S931B", "SM-A155F", "SM-A256B", "SM-A356B", "SM-A546B", "SM-A556B", "SM-G991B"),
    *("Pixel 6a", "Pixel 7", "Pixel 8", "Pixel 9", "23127PN0CG", "2312DRA50G", "22101316G", "M2101K6G", "CPH2581"),
    *("CPH2609", "RMX3771", "RMX3834", "V2318", "V2250", "moto g54 5G", "moto g84 5G", "TECNO KI7", "Infinix X6833B"),
)
BLINK: Final = "AppleWebKit/537.36 (KHTML, like Gecko)"
WEBKIT: Final = "AppleWebKit/605.1.15 (KHTML, like Gecko)"
WINDOWS: Final = "Windows NT 10.0; Win64; x64"
MAC: Final = "Macintosh; Intel Mac OS X 10_15_7"
LINUX: Final = "X11; Linux x86_64"
ANDROID: Final = "Linux; Android 10; K"


class Releases(NamedTuple):
    """Versions in order, and the days since 1970 on which they came out."""

    days: NDArray[np.float64]
    versions: tuple[tuple[int, int], ...]


class Browser(NamedTuple):
    """A browser on an operating system: whose releases it follows, how it names itself, how many variants it has."""

    label: str
    releases: str
    name: Callable[[tuple[int, int], int], str]
    variants: int = 1


def _steady(first: Date, major: int, every: int) -> Releases:
    """A major version every so many days; those before the first one go back as far as version 1."""
    numbers = range(1, major + 250)
    start = (first - EPOCH).days
    days = [start + (number - major) * every for number in numbers]
    return Releases(np.array(days, np.float64), tuple((number, 0) for number in numbers))


def _yearly() -> Releases:
    """A major version in the middle of each September and six smaller ones behind it (Safari, from 2015 on)."""
    days, versions = [], []
    for year in range(2015, 2060):
        major = year - 2006 if year < 2025 else year - 1999
        for minor, week in enumerate((0, 6, 13, 19, 27, 34, 44)):
            days.append((Date(year, 9, 16) + timedelta(weeks=week) - EPOCH).days)
            versions.append((major, minor))
    return Releases(np.array(days, np.float64), tuple(versions))


@cache
def releases() -> dict[str, Releases]:
    """The releases of each maker, by its name."""
    return {
        "chrome": _steady(Date(2023, 12, 5), 120, 32),
        "edge": _steady(Date(2023, 12, 7), 120, 32),
        "firefox": _steady(Date(2023, 12, 19), 121, 29),
        "opera": _steady(Date(2023, 12, 19), 106, 38),
        "samsung": _steady(Date(2023, 11, 7), 23, 115),
        "safari": _yearly(),
    }


def _chromium(system: str, tail: str = "", mobile: str = "") -> Callable[[tuple[int, int], int], str]:
    """How Chrome and its kin name themselves; `tail` may hold the version."""

    def name(version: tuple[int, int], _variant: int) -> str:
        end = tail.format(version[0])
        return f"Mozilla/5.0 ({system}) {BLINK} Chrome/{version[0]}.0.0.0 {mobile}Safari/537.36{end}"

    return name


def _opera(version: tuple[int, int], _variant: int) -> str:
    """Opera, whose numbers are about 16 behind those of Chrome."""
    major = version[0]
    return f"Mozilla/5.0 ({WINDOWS}) {BLINK} Chrome/{major + 16}.0.0.0 Safari/537.36 OPR/{major}.0.0.0"


def _samsung(version: tuple[int, int], _variant: int) -> str:
    """The browser of Samsung's phones, on a Chrome of half a year ago."""
    chrome = 115 + 4 * (version[0] - 23)
    return f"Mozilla/5.0 ({ANDROID}) {BLINK} SamsungBrowser/{version[0]}.0 Chrome/{chrome}.0.0.0 Mobile Safari/537.36"


def _firefox(*systems: str) -> Callable[[tuple[int, int], int], str]:
    """Firefox; a variant for each system."""

    def name(version: tuple[int, int], variant: int) -> str:
        number = f"{version[0]}.0"
        system = systems[variant % len(systems)]
        engine = f"Gecko/{number}" if "Mobile" in system else "Gecko/20100101"
        return f"Mozilla/5.0 ({system}; rv:{number}) {engine} Firefox/{number}"

    return name


def _safari(version: tuple[int, int], _variant: int) -> str:
    """Safari on a Mac, and on an iPad, which names itself as a Mac."""
    return f"Mozilla/5.0 ({MAC}) {WEBKIT} Version/{version[0]}.{version[1]} Safari/605.1.15"


def _iphone_safari(version: tuple[int, int], _variant: int) -> str:
    """Safari on an iPhone, which since version 26 says the system's version no longer."""
    system = "18_6" if version[0] >= 26 else f"{version[0]}_{version[1]}"
    return (
        f"Mozilla/5.0 (iPhone; CPU iPhone OS {system} like Mac OS X) {WEBKIT} "
        f"Version/{version[0]}.{version[1]} Mobile/15E148 Safari/604.1"
    )


def _iphone_chrome(version: tuple[int, int], variant: int) -> str:
    """Chrome on an iPhone."""
    system = ("17_7", "18_5", "18_6", "18_7")[variant % 4]
    phone = f"iPhone; CPU iPhone OS {system} like Mac OS X"
    return f"Mozilla/5.0 ({phone}) {WEBKIT} CriOS/{_full(version[0])} Mobile/15E148 Safari/604.1"


def _web_view(version: tuple[int, int], variant: int) -> str:
    """A browser inside an app on Android, which says the model of the phone."""
    android = ANDROIDS[variant % len(ANDROIDS)]
    system = f"Linux; Android {android}; {MODELS[variant % len(MODELS)]}; wv"
    return f"Mozilla/5.0 ({system}) {BLINK} Version/4.0 Chrome/{_full(version[0])} Mobile Safari/537.36"


def _full(major: int) -> str:
    """All four numbers of a version of Chrome."""
    return f"{major}.0.{max(6099 + 61 * (major - 120), 1)}.{major * 37 % 180 + 20}"


BROWSERS: Final = (
    Browser("Chrome, Windows", "chrome", _chromium(WINDOWS)),
    Browser("Edge, Windows", "edge", _chromium(WINDOWS, " Edg/{}.0.0.0")),
    Browser("Firefox, Windows", "firefox", _firefox(WINDOWS)),
    Browser("Opera, Windows", "opera", _opera),
    Browser("Chrome, macOS", "chrome", _chromium(MAC)),
    Browser("Safari, macOS", "safari", _safari),
    Browser("Firefox, macOS", "firefox", _firefox("Macintosh; Intel Mac OS X 10.15")),
    Browser("Chrome, Linux", "chrome", _chromium(LINUX)),
    Browser("Firefox, Linux", "firefox", _firefox(LINUX, "X11; Ubuntu; Linux x86_64"), 2),
    Browser("Chrome, Android", "chrome", _chromium(ANDROID, mobile="Mobile ")),
    Browser("Samsung, Android", "samsung", _samsung),
    Browser("Firefox, Android", "firefox", _firefox(*(f"Android {number}; Mobile" for number in ANDROIDS)), 4),
    Browser("App, Android", "chrome", _web_view, len(MODELS)),
    Browser("Safari, iPhone", "safari", _iphone_safari),
    Browser("Chrome, iPhone", "chrome", _iphone_chrome, 4),
    Browser("Safari, iPad", "safari", _safari),
    Browser("Chrome, Android tablet", "chrome", _chromium(ANDROID)),
)
NUMBERS: Final = {browser.label: number for number, browser in enumerate(BROWSERS)}

COMPUTERS: Final = {
    "Chrome, Windows": 0.47, "Edge, Windows": 0.14, "Firefox, Windows": 0.07, "Opera, Windows": 0.02,
    "Chrome, macOS": 0.11, "Safari, macOS": 0.12, "Firefox, macOS": 0.02, "Chrome, Linux": 0.03,
    "Firefox, Linux": 0.02,
}  # fmt: skip
ANDROID_PHONES: Final = {
    "Chrome, Android": 0.74, "Samsung, Android": 0.12, "Firefox, Android": 0.02, "App, Android": 0.12,
}  # fmt: skip
IPHONES: Final = {"Safari, iPhone": 0.88, "Chrome, iPhone": 0.12}
TABLETS: Final = {"Safari, iPad": 0.6, "Chrome, Android tablet": 0.4}
OFFICE_COMPUTERS: Final = {
    "Chrome, Windows": 0.45,
    "Edge, Windows": 0.3,
    "Chrome, macOS": 0.15,
    "Firefox, Windows": 0.1,
}


def weights(shares: dict[str, float]) -> NDArray[np.float64]:
    """Shares as weights of all browsers."""
    return np.array([shares.get(browser.label, 0.0) for browser in BROWSERS])


def system(browser: NDArray[np.int64]) -> NDArray[np.int64]:
    """The operating system of each browser, numbered."""
    names = [browser.label.partition(", ")[2] for browser in BROWSERS]
    order = list(dict.fromkeys(names))
    return np.array([order.index(name) for name in names])[browser]


def agents(
    browser: NDArray[np.int64],
    variant: NDArray[np.int64],
    lag: NDArray[np.float64],
    day: NDArray[np.float64],
    *,
    pushed: float = np.inf,
    soon: NDArray[np.float64] | float = 0.0,
) -> NDArray[np.int64]:
    """Codes of user agents: browser, variant, and the version that a device has that is `lag` days late.

    Days count from 1970. The release of Chrome of the day `pushed` comes to everybody within `soon` days, but for those
    who are more than `NEVER` days late.
    """
    number = np.zeros(len(browser), np.int64)
    for maker, table in releases().items():
        rows = np.flatnonzero(np.array([item.releases == maker for item in BROWSERS])[browser])
        known = np.searchsorted(table.days, day[rows] - lag[rows], side="right")
        if maker == "chrome" and np.isfinite(pushed):
            moved = (day[rows] >= pushed + np.broadcast_to(soon, len(browser))[rows]) & (lag[rows] < NEVER)
            known = np.where(moved, np.maximum(known, np.searchsorted(table.days, pushed, side="right")), known)
        number[rows] = np.maximum(known - 1, 0)
    codes: NDArray[np.int64] = (browser * VARIANTS + variant) * VERSIONS + number
    return codes


def texts(codes: NDArray[np.int64]) -> list[str]:
    """The user agents that codes stand for."""
    return [_text(code) for code in codes.tolist()]


def _text(code: int) -> str:
    """The user agent that a code stands for."""
    number, variant, browser = code % VERSIONS, code // VERSIONS % VARIANTS, BROWSERS[code // VERSIONS // VARIANTS]
    return browser.name(releases()[browser.releases].versions[number], variant)


def push_day(first: float, days: int) -> float:
    """The day of the release of Chrome that comes nearest to the middle of a log, in days since 1970.

    It is the one release that is pushed to everybody at once.
    """
    table = releases()["chrome"].days
    return float(table[np.argmin(np.abs(table - first - days / 2))])
