"""The endpoint behind the links of mails: shows what is asked, takes one click, keeps the verdict.

A link that is opened changes nothing, since mail servers open links to look at them; the button on the page that it
shows does. Each link counts once. What is said here is kept as `amiss feedback` keeps it, also while a watch runs.
Needs `pip install "amiss[web]"`.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import logging
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Final

from amiss.alerts import Alert
from amiss.config import LISTEN
from amiss.errors import AmissError, MissingExtraError, StateError, UsageError
from amiss.escape import label
from amiss.logs import fields
from amiss.metrics import where
from amiss.sinks.links import KNOWN, Claim, Key, key_of
from amiss.sinks.logins import Login, plain, when
from amiss.store import Store, Verdict

if TYPE_CHECKING:
    from jinja2 import Template
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

MOST_BYTES: Final = 4_096
"""The longest body of a request; the button sends none."""

MOST_CALLS: Final = 30
"""Calls about one alert within `PER_SECONDS`."""

PER_SECONDS: Final = 60.0
MOST_KNOWN: Final = 10_000
"""Alerts whose calls are counted at a time."""

AUTHORS: Final = {"user": "user by mail", "operator": "operator by mail"}
"""Who speaks, by who was asked."""

NOTE: Final = "answered a link in a mail"
_ENDS_WITHIN_SECONDS: Final = 5
_LOG: Final = logging.getLogger(__name__)

HEADERS: Final = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex, nofollow",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""Of every answer, beside the content security policy."""


@dataclass(frozen=True)
class Page:
    """What is shown, with which status."""

    title: str
    status: int = 200
    before: Sequence[str] = ()
    facts: Sequence[tuple[str, str]] = ()
    button: str = ""
    after: Sequence[str] = ()
    foot: str = ""
    retry_after: int | None = None


OTHERS: Final = {
    400: Page("This is no request that can be answered", 400, ["Open the link in the mail again."]),
    403: Page("This link is not whole", 403, ["Open it again from the mail, or copy all of it."]),
    404: Page("Nothing to see here", 404, ["This address answers the links in mails of amiss."]),
    405: Page("This is no request that can be answered", 405, ["Open the link in the mail again."]),
    410: Page("This link is too old", 410, ["If something is wrong, write to your administrators."]),
    413: Page("This is too long", 413, ["Open the link in the mail again."]),
    429: Page("Too many calls", 429, ["Wait a minute, then open the link again."], retry_after=60),
    500: Page("Something went wrong here", 500, ["Nothing was kept. Open the link again later."]),
    503: Page("Not right now", 503, ["Nothing was kept. Open the link again in a minute."], retry_after=60),
}  # fmt: skip
"""Pages without a verdict, by status."""

FORGOTTEN: Final = Page(
    "This alert is not known any more", 404, ["If something is wrong, write to your administrators."]
)


@dataclass(frozen=True)
class Endpoint:
    """What is asked and kept, without the web around it.

    Parameters
    ----------
    state
        The state file.
    key
        Signed the links.
    now
        The time.
    """

    state: Path
    key: Key
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    def claim(self, query: str) -> Claim | Page:
        """What a link claims, or the page for one that is not good."""
        if not query:
            return OTHERS[404]
        claim = self.key.claim(query)
        if claim is None:
            return OTHERS[403]
        return OTHERS[410] if claim.is_over(self.now()) else claim

    def asked(self, claim: Claim) -> Page:
        """The page that asks for a click; what was said before, where a click would change nothing."""
        with Store.open(self.state, write=False) as store, store.view():
            kept = store.alert(claim.alert_id)
            if kept is None:
                return FORGOTTEN
            return _said_before(store, claim, kept.alert) or _question(claim, kept.alert)

    def answered(self, claim: Claim) -> Page:
        """The page after the click, which has been kept; a second click changes nothing."""
        with Store.open(self.state, write=False) as store, store.begin():
            kept = store.alert(claim.alert_id)
            if kept is None:
                return FORGOTTEN
            before = _said_before(store, claim, kept.alert)
            if before is not None:
                return before
            author = AUTHORS[claim.by]
            said = store.add_feedback(claim.alert_id, claim.verdict, author=author, time=self.now(), note=NOTE)
        known = fields(alert=claim.alert_id, user=kept.alert.user, verdict=claim.verdict, author=author)
        (_LOG.warning if claim.verdict == "confirmed" else _LOG.info)("a mail was answered", extra=known)
        return _receipt(said, kept.alert, claim)


def application(endpoint: Endpoint, *, clock: Callable[[], float] = time.monotonic) -> Starlette:
    """The endpoint as an ASGI application, whatever path it is reached by.

    Raises
    ------
    MissingExtraError
        If Starlette is not installed.
    """
    try:
        from starlette.applications import Starlette
        from starlette.concurrency import run_in_threadpool
        from starlette.exceptions import HTTPException
        from starlette.responses import PlainTextResponse
        from starlette.routing import Route
    except ImportError as error:
        raise MissingExtraError("amiss serve", "web") from error
    calls = Calls(clock)

    async def answer(request: Request) -> Response:
        """The page for a call."""
        claim = endpoint.claim(request.url.query)
        if not isinstance(claim, Claim):
            return _response(claim)
        if claim.is_trial:
            return PlainTextResponse(KNOWN, headers=_headers())
        if not calls.is_allowed(claim.alert_id):
            return _response(OTHERS[429])
        if request.method != "POST":
            return _response(await run_in_threadpool(_kept_from_failing, endpoint.asked, claim))
        if not await _is_short(request):
            return _response(OTHERS[413])
        return _response(await run_in_threadpool(_kept_from_failing, endpoint.answered, claim))

    async def refuse(_request: Request, error: Exception) -> Response:
        """The page for what the routes do not take."""
        assert isinstance(error, HTTPException)
        return _response(replace(OTHERS.get(error.status_code, OTHERS[400]), status=error.status_code))

    async def fail(_request: Request, _error: Exception) -> Response:
        """The page for a mistake of ours, which is logged."""
        return _response(OTHERS[500])

    routes = [Route("/{path:path}", answer, methods=["GET", "POST"])]
    return Starlette(routes=routes, exception_handlers={HTTPException: refuse, Exception: fail})


class Calls:
    """Which calls about an alert are too many: each alert has `MOST_CALLS`, and gets them back in `PER_SECONDS`.

    Examples
    --------
    >>> calls = Calls(lambda: 0.0)
    >>> [calls.is_allowed("a1") for _ in range(31)].count(True)
    30
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def is_allowed(self, alert_id: str) -> bool:
        """Whether one more call is allowed; it counts."""
        now = self._clock()
        left, last = self._left.pop(alert_id, (float(MOST_CALLS), now))
        left = min(float(MOST_CALLS), left + (now - last) * MOST_CALLS / PER_SECONDS)
        self._left[alert_id] = (max(left - 1.0, 0.0) if left >= 1.0 else left, now)
        if len(self._left) > MOST_KNOWN:
            self._left.popitem(last=False)
        return left >= 1.0


class Serving:
    """An endpoint that answers on a thread of its own, until closed.

    Parameters
    ----------
    endpoint
        What is asked and kept.
    listen
        `HOST:PORT`; port 0 takes a free one.

    Raises
    ------
    UsageError
        If the address is none, or cannot be listened on.
    MissingExtraError
        If Starlette or uvicorn is not installed.
    """

    def __init__(self, endpoint: Endpoint, listen: str = LISTEN) -> None:
        try:
            import uvicorn
        except ImportError as error:
            raise MissingExtraError("amiss serve", "web") from error
        config = uvicorn.Config(
            application(endpoint), http="h11", ws="none", lifespan="off", loop="asyncio", log_config=None,
            access_log=False, log_level="error", server_header=False, proxy_headers=False, limit_concurrency=64,
            h11_max_incomplete_event_size=16_384, timeout_keep_alive=5,
            timeout_graceful_shutdown=_ENDS_WITHIN_SECONDS,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._socket = _bound(*where(listen))
        host, port = self._socket.getsockname()[:2]
        self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), name="feedback", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether it still answers."""
        return self._thread.is_alive()

    def close(self) -> None:
        """End, after the calls at hand."""
        self._server.should_exit = True
        self._thread.join(_ENDS_WITHIN_SECONDS + 2)
        self._socket.close()


@contextmanager
def serving(state: Path, listen: str = LISTEN) -> Iterator[Serving]:
    """The endpoint of a state, answering while it lasts.

    Raises
    ------
    StateError
        If there is no such state.
    UsageError
        If there is no key, or the address cannot be listened on.
    MissingExtraError
        If an optional part is not installed.
    """
    Store.open(state, write=False).close()
    served = Serving(Endpoint(state, key_of(str(state))), listen)
    try:
        yield served
    finally:
        served.close()


def _bound(host: str, port: int) -> socket.socket:
    """A socket that listens there."""
    try:
        family, _, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(place[:2], family=family, backlog=128)
    except (OSError, UnicodeError) as error:
        raise UsageError(
            f"nothing can be served at {label(host)}:{port} ({label(str(error), 80)}). Give an address of this machine "
            f"and a port that is free, such as {LISTEN}"
        ) from error


def _kept_from_failing(act: Callable[[Claim], Page], claim: Claim) -> Page:
    """The page, or one that says to come back where the state cannot be used now."""
    try:
        return act(claim)
    except StateError as error:
        _LOG.warning("%s", error)
        return OTHERS[503]
    except AmissError as error:
        _LOG.warning("%s", error)
        return OTHERS[400]


def _said_before(store: Store, claim: Claim, alert: Alert) -> Page | None:
    """The page where a link changes nothing any more; None where it still does.

    It does not where the same was said, where this very link was used, or where a user's all-clear would take the place
    of what somebody said before.
    """
    history = store.feedback(story=alert.story)
    standing = next((said for said in reversed(history) if said.undone_time is None), None)
    if standing is not None and standing.verdict == claim.verdict:
        return replace(_receipt(standing, alert, claim), title="This is known already")
    is_used = any(_is_from(said, claim) for said in history)
    is_all_clear = claim.by == "user" and claim.verdict != "confirmed"
    if not is_used and not (is_all_clear and standing is not None):
        return None
    text = "This link was used before" if is_used else "Somebody has answered before you"
    more = "What was said last stands. If that is wrong, write to your administrators."
    return Page(text, before=[more], facts=_facts(alert))


def _is_from(said: Verdict, claim: Claim) -> bool:
    """Whether a verdict came by a link."""
    return (said.alert_id, said.verdict, said.author) == (claim.alert_id, claim.verdict, AUTHORS[claim.by])


QUESTIONS: Final[Mapping[tuple[str, str], tuple[str, str]]] = {
    ("user", "expected"): ("Was this you?", "Yes, this was me"),
    ("user", "confirmed"): ("This wasn't you?", "No, this wasn't me"),
    ("user", "false"): ("Is this a false alarm?", "Yes, a false alarm"),
    ("operator", "expected"): ("Is this expected of {user}?", "Yes, it was expected"),
    ("operator", "confirmed"): ("Was this amiss?", "Yes, it was amiss"),
    ("operator", "false"): ("Is this a false alarm?", "Yes, a false alarm"),
}
"""What is asked, and what the button says; by who is asked and the verdict."""


def _question(claim: Claim, alert: Alert) -> Page:
    """The page that asks for a click."""
    title, button = QUESTIONS[claim.by, claim.verdict]
    user = plain(alert.user)
    return Page(
        title.format(user=user),
        before=[_event(alert)],
        facts=_facts(alert),
        button=button,
        after=["Nothing is kept until you press the button."],
    )


def _event(alert: Alert) -> str:
    """What happened, in a sentence."""
    login, user = Login.of(alert), plain(alert.user)
    return f"Unusual activity in {user}'s account." if login is None else f"A login to {user}'s account {login.source}."


def _facts(alert: Alert) -> list[tuple[str, str]]:
    """What is known of it."""
    login = Login.of(alert)
    return [("When", when(alert))] if login is None else list(login.facts())


def _receipt(said: Verdict, alert: Alert, claim: Claim) -> Page:
    """What was kept, and what that changes, in plain words; operators read the evidence too."""
    is_own = said.author == AUTHORS["user"]
    title, text = _KEPT[said.verdict]
    own_title, own_text = _KEPT_OF_OWN.get(said.verdict, (title, text)) if is_own else (title, text)
    user = plain(alert.user)
    return Page(
        own_title,
        before=[own_text.format(user=user)],
        facts=_facts(alert) + (_figures(alert) if claim.by == "operator" else []),
        after=_NEXT if is_own and said.verdict == "confirmed" else [],
        foot=f"Answer {said.id}, kept on {said.time:%Y-%m-%d at %H:%M} UTC. Administrators can take it back.",
    )


def _figures(alert: Alert) -> list[tuple[str, str]]:
    """How much speaks against the user."""
    return [("Evidence", f"{alert.bits:,.1f} bits ({alert.urgency})")]


_KEPT: Final = {
    "expected": ("Kept: expected", "What {user} did that day speaks against them no more, and the same again less."),
    "false": ("Kept: a false alarm", "What {user} did that day speaks against them no more, and the same again less."),
    "confirmed": ("Kept: it was amiss", "Nothing of what was done as {user} that day is learned as theirs."),
}
_KEPT_OF_OWN: Final = {
    "expected": ("Thank you. This was you", "The same again will stand out less. There is nothing more to do."),
    "confirmed": (
        "Thank you. This wasn't you",
        "Your administrators can see that now. Nothing of what was done that day is learned as yours.",
    ),
}
_NEXT: Final = ["What to do now: change your password, sign out everywhere, and write to your administrators."]


async def _is_short(request: Request) -> bool:
    """Whether a body is no longer than it may be; no more of it is read."""
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > MOST_BYTES:
            return False
    return True


def _response(page: Page) -> Response:
    """A page as an answer."""
    from starlette.responses import HTMLResponse

    more = {} if page.retry_after is None else {"Retry-After": str(page.retry_after)}
    text = _template().render(page=page, style=_style())
    return HTMLResponse(text, page.status, headers=_headers() | more)


@functools.cache
def _headers() -> dict[str, str]:
    """The headers of every answer."""
    digest = base64.b64encode(hashlib.sha256(_style().encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    )
    return HEADERS | {"Content-Security-Policy": policy}


@functools.cache
def _style() -> str:
    return resources.files("amiss").joinpath("templates", "feedback.css").read_text("utf-8")


@functools.cache
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(resources.files("amiss").joinpath("templates", "feedback.html").read_text("utf-8"))
