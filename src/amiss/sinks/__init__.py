"""Where alerts go: the `Sink` protocol and `open_sink(url)`.

A sink hands alerts over, or says with :class:`amiss.errors.SinkError` that it could not, and whether trying again can
help. It keeps no queue: :mod:`amiss.outbox` tries again, in order, and gives up at last.

To add one: a class in a module of this package, a line in `BUILT_IN`, a test file. Others may register theirs under
the entry point `amiss.sinks`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from importlib import import_module
from importlib.metadata import entry_points
from typing import Final, Protocol, runtime_checkable

from amiss.alerts import Alert
from amiss.errors import UsageError, nearest
from amiss.sinks.address import Address
from amiss.sinks.digest import Digest

BUILT_IN: Final = {
    "console": "amiss.sinks.console:Console",
    "couchdb": "amiss.sinks.couchdb:CouchSink",
    "couchdbs": "amiss.sinks.couchdb:CouchSink",
    "file": "amiss.sinks.files:open_file",
    "ocsf": "amiss.sinks.files:open_ocsf",
    "http": "amiss.sinks.webhook:Webhook",
    "https": "amiss.sinks.webhook:Webhook",
    "mailto": "amiss.sinks.mail:Mail",
}
"""What opens an address, by its scheme; Apprise is asked about any other."""


@runtime_checkable
class Sink(Protocol):
    """Something that takes alerts."""

    @property
    def url(self) -> str:
        """The address without anything secret: what the sink is called in messages, and by the outbox."""
        ...

    def write(self, alerts: Sequence[Alert]) -> None:
        """Hand all of these over, for good: a file synced, a mail accepted, an HTTP answer of 2xx.

        The same alert may come again, with the same `alert_id`.

        Raises
        ------
        SinkError
            If any of them was not handed over.
        """
        ...

    def check(self) -> str:
        """What was found when the sink was tried without sending an alert, in a line.

        Raises
        ------
        SinkError
            If alerts cannot be delivered there as things stand.
        """
        ...

    def close(self) -> None:
        """Let go of what is held; closing twice is fine."""
        ...


def open_sink(
    url: str,
    *,
    digest: str | timedelta | None = None,
    state: str | None = None,
    feedback: str | None = None,
    feedback_days: int | None = None,
    **settings: object,
) -> Sink:
    """The sink at an address.

    Parameters
    ----------
    url
        A path that ends in `.jsonl`, `.csv` or `.ocsf.jsonl`; `-` or `console:`; `https://`; `mailto:`; `couchdb://`;
        or any other address that Apprise knows. `?digest=1h` at its end is the same as `digest`.
    digest
        Alerts are collected for so long, and delivered together; see :mod:`amiss.outbox`.
    state
        The file that `amiss` keeps its state in: sinks for people name it in the command for feedback.
    feedback, feedback_days
        Where `amiss serve --feedback` is reached, and how long links to it are good: mails have links then.
    settings
        Those of the sink, such as `secret` of a webhook or `smtp` of a mail.

    Raises
    ------
    UsageError
        If the address, or a setting of it, is not understood.
    MissingExtraError
        If the sink needs a part that is not installed.

    Examples
    --------
    >>> open_sink("https://ann:pw@example.com/hook?key=abc").url
    'https://example.com/…#...'
    >>> open_sink("alerts.xml")
    Traceback (most recent call last):
    amiss.errors.UsageError: alerts.xml: expected a file that ends in .jsonl, .csv or .ocsf.jsonl
    """
    address = Address.parse(url)
    opener = _opener(address.scheme)
    known = _settings_of(opener)
    _check_settings(settings, known, address)
    common = {"state": state, "feedback": feedback, "feedback_days": feedback_days}
    given = settings | {name: value for name, value in common.items() if name in known and value is not None}
    sink = opener(address.url, **given)
    every = address.digest if digest is None else _span(digest)
    return sink if every is None else Digest(sink, every)


def schemes() -> list[str]:
    """The schemes that need no Apprise, those of other packages included.

    Examples
    --------
    >>> schemes()
    ['console', 'couchdb', 'couchdbs', 'file', 'http', 'https', 'mailto', 'ocsf']
    """
    return sorted({*BUILT_IN, *(entry.name for entry in entry_points(group="amiss.sinks"))})


def _opener(scheme: str) -> Callable[..., Sink]:
    """What opens addresses of the scheme."""
    for entry in entry_points(group="amiss.sinks"):
        if entry.name == scheme:
            theirs: Callable[..., Sink] = entry.load()
            return theirs
    module, _, name = BUILT_IN.get(scheme, "amiss.sinks.chat:Chat").partition(":")
    ours: Callable[..., Sink] = getattr(import_module(module), name)
    return ours


def _settings_of(opener: Callable[..., Sink]) -> list[str]:
    """The settings that a sink has."""
    parameters = inspect.signature(opener).parameters.values()
    return [each.name for each in parameters if each.kind is each.KEYWORD_ONLY]


def _check_settings(settings: Iterable[str], known: Sequence[str], address: Address) -> None:
    """Refuse settings that the sink does not have."""
    for name in settings:
        if name not in known:
            has = f"Known: {', '.join(['digest', *known])}.{nearest(name, known)}"
            raise UsageError(f'{address.scheme}: this sink has no setting "{name}". {has}')


def _span(digest: str | timedelta) -> timedelta:
    """A span of time, which may be given in words."""
    return digest if isinstance(digest, timedelta) else Address.span(digest)
