"""Alerts by mail, to operators and to the users they are about."""

from __future__ import annotations

import logging
import os
import smtplib
import socket
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

from amiss import escape
from amiss.alerts import Alert
from amiss.errors import SinkError, UsageError, nearest
from amiss.sinks.letter import Envelope, letter, letter_to_user
from amiss.sinks.links import DAYS, links
from amiss.sinks.smtp import PASSWORD, Office, Server, accept, refusals, sent
from amiss.sinks.whom import Person, Recipients, operators_address

SERVER: Final = "AMISS_SMTP_URL"
OPTIONS: Final = ("from", "directory", "feedback", "digest")
"""What may stand behind the `?` of an address."""

REMEMBERED: Final = 1_000
"""Alerts of which it is known whom they reached, while others have not got them."""

MOST_NAMED: Final = 10
_LOG: Final = logging.getLogger(__name__)

Refused = dict[str, tuple[int, bytes]]


@dataclass(frozen=True)
class Mailing:
    """Alerts that go to somebody in one mail; `form` tells apart what is for operators and for users."""

    form: str
    alerts: Sequence[Alert]
    recipients: Sequence[str]
    name: str = ""


class Mail:
    """Sends a mail with the alerts to all operators, and to each user what is about them.

    Parameters
    ----------
    url
        `mailto:ann@example.com,bob@example.com?from=amiss@example.com`. `{user}@example.com` among them, or `{user}`
        where users are called by their addresses, is the user; `&directory=users.csv` gives the addresses of users.
    smtp
        The server, `smtp://user@host:port` or `smtps://…`; else that of the environment variable `AMISS_SMTP_URL`, else
        the one of this machine. The password is best left to `AMISS_SMTP_PASSWORD`.
    state
        Where `amiss` keeps its state: the command for feedback names it, and the key for links lies beside it.
    feedback
        Where `amiss serve --feedback` is reached; `&feedback=…` in the address goes before it. Without it mails have no
        links.
    feedback_days
        How long links are good.
    timeout_seconds
        How long to wait for each answer.
    clock
        The time, for the date of the mail.
    """

    def __init__(
        self,
        url: str,
        *,
        smtp: str | None = None,
        state: str | None = None,
        feedback: str | None = None,
        feedback_days: int = DAYS,
        timeout_seconds: float = 20.0,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        parts = urlsplit(url)
        options = _options(parts.query)
        self._whom = Recipients.parse(unquote(parts.path), options.get("directory"))
        self._sender = operators_address(options["from"]) if "from" in options else _own()
        self.url = self._whom.url
        given = smtp or os.environ.get(SERVER) or "smtp://localhost"
        self._office = Office(Server.parse(given, os.environ.get(PASSWORD)), timeout_seconds)
        where = options.get("feedback", feedback)
        self._links = None if where is None else links(where, state, feedback_days)
        self._state = state
        self._clock = clock
        self._reached: OrderedDict[str, set[str]] = OrderedDict()
        if self._whom.book is not None:
            _ = _usable(self._whom)

    def write(self, alerts: Sequence[Alert]) -> None:
        """Send the mails; alerts are delivered when the server has accepted all of them.

        Raises
        ------
        SinkError
            If it has not; names the recipients that were refused, or, where there is no operator to tell, users of whom
            no address is known. Those who have got their mail are left out the next time.
        """
        mailings, unknown = self._mailings(alerts)
        refused = self._send(mailings, unknown)
        problems = [f"{self._office.place} {refusals(refused)}"] if refused else []
        if unknown and not self._whom.operators:
            problems.append(f"{self.url}: {_untold(unknown)}")
        self._remember(alerts, (), is_done=not problems)
        if problems:
            permanent = all(code >= 500 for code, _ in refused.values())
            raise SinkError("; ".join(problems), permanent=permanent)

    def check(self) -> str:
        """That the server is there, takes the password, and would take mail for the recipients; that links work."""
        said = ", ".join(self._whom.said())
        with self._office.connected() as server:
            accept(server.mail(self._sender.addr_spec), self._sender.addr_spec)
            for recipient in self._whom.operators:
                accept(server.rcpt(recipient), recipient)
            server.rset()
        found = f"{self._office.place} accepts mail for {escape.visible(said)}"
        return found if self._links is None else f"{found}; {self._links.check()}"

    def close(self) -> None:
        """Nothing is held between mails."""

    def _mailings(self, alerts: Sequence[Alert]) -> tuple[list[Mailing], list[str]]:
        """The mails to send, those to users first, and the users of whom no address is known."""
        mailings, unknown = [], []
        for user, theirs in _by_user(alerts).items() if self._whom.has_users else ():
            person = self._whom.person(user)
            if person is None:
                unknown.append(user)
            else:
                mailings.append(_to(person, theirs))
        if unknown:
            _LOG.warning("%s", _untold(unknown))
        operators = [Mailing("operator", alerts, self._whom.operators)] if self._whom.operators else []
        return [*mailings, *operators], unknown

    def _send(self, mailings: Sequence[Mailing], unknown: Sequence[str]) -> Refused:
        """Send what has not arrived yet; gives who was refused."""
        left = [(mailing, recipients) for mailing in mailings if (recipients := self._left(mailing))]
        refused: Refused = {}
        if not left:
            return refused
        with self._office.connected() as server:
            for mailing, recipients in left:
                refused |= self._hand_over(server, mailing, recipients, unknown)
        return refused

    def _hand_over(
        self, server: smtplib.SMTP, mailing: Mailing, recipients: Sequence[str], unknown: Sequence[str]
    ) -> Refused:
        """Send one mail; gives who was refused."""
        message = self._written(mailing, unknown).as_bytes()
        refused = dict(sent(server, message, self._sender.addr_spec, recipients))
        reached = {f"{mailing.form} {each}" for each in recipients if each not in refused}
        self._remember(mailing.alerts, reached, is_done=False)
        return refused

    def _written(self, mailing: Mailing, unknown: Sequence[str]) -> EmailMessage:
        """The mail."""
        envelope = Envelope(self._sender, self._clock(), self._state, self._links)
        if mailing.form == "operator":
            notes = [f"{_untold(unknown)}."] if unknown else []
            return letter(mailing.alerts, envelope, mailing.recipients, notes)
        [recipient] = mailing.recipients
        operators = self._whom.operators
        return letter_to_user(_latest(mailing.alerts), envelope, recipient, name=mailing.name, operators=operators)

    def _left(self, mailing: Mailing) -> list[str]:
        """Who of the recipients has not got all the alerts of a mail."""
        reached = [self._reached.get(alert.alert_id, set()) for alert in mailing.alerts]
        return [each for each in mailing.recipients if not all(f"{mailing.form} {each}" in some for some in reached)]

    def _remember(self, alerts: Sequence[Alert], reached: Iterable[str], *, is_done: bool) -> None:
        """Remember who has got the alerts, until all have."""
        for alert in alerts:
            before = self._reached.pop(alert.alert_id, set())
            if not is_done:
                self._reached[alert.alert_id] = before | set(reached)
        while len(self._reached) > REMEMBERED:
            self._reached.popitem(last=False)


def _by_user(alerts: Sequence[Alert]) -> Mapping[str, list[Alert]]:
    """The alerts of each user."""
    found: dict[str, list[Alert]] = {}
    for alert in alerts:
        found.setdefault(alert.user, []).append(alert)
    return found


def _latest(alerts: Sequence[Alert]) -> list[Alert]:
    """The last notice of each story: users are told once what happened."""
    return list({alert.story: alert for alert in alerts}.values())


def _to(person: Person, alerts: Sequence[Alert]) -> Mailing:
    return Mailing("user", alerts, [person.address], person.name)


def _untold(users: Sequence[str]) -> str:
    """That users were not told."""
    names = ", ".join(escape.label(user) for user in users[:MOST_NAMED])
    more = f" and {len(users) - MOST_NAMED:,} more" if len(users) > MOST_NAMED else ""
    many = "1 user was" if len(users) == 1 else f"{len(users):,} users were"
    return f"{many} not told, since no address is known: {names}{more}"


def _options(query: str) -> dict[str, str]:
    """What stands behind the `?` of an address."""
    given = parse_qs(query)
    for name in given:
        if name not in OPTIONS:
            known = ", ".join(OPTIONS)
            raise UsageError(f'mailto: no option "{escape.label(name)}". Known: {known}.{nearest(name, OPTIONS)}')
    return {name: values[0] for name, values in given.items()}


def _usable(whom: Recipients) -> Sequence[str]:
    """What there is to say of recipients.

    Raises
    ------
    UsageError
        If their directory cannot be read.
    """
    try:
        return list(whom.said())
    except SinkError as error:
        raise UsageError(str(error)) from error


def _own() -> Address:
    """The address of amiss on this machine."""
    name = socket.getfqdn()
    return Address(username="amiss", domain=name if name.isascii() and name.isprintable() else "localhost")
