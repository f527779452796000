"""A login form that asks for a second factor where a login is unlike its user.

`python app.py add jane` asks for a password and keeps its hash; `python app.py` serves http://127.0.0.1:8000.
"""

from __future__ import annotations

import getpass
import hashlib
import hmac
import json
import logging
import secrets
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.config import Config
from starlette.datastructures import FormData, Secret
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.templating import Jinja2Templates

import amiss
from amiss.alerts import Alert
from amiss.detect import detector

config, here = Config(), Path(__file__).parent
USERS = config("USERS", cast=Path, default="users.json")
STATE = config("STATE", cast=Path, default="logins.db")
EVENTS = config("EVENTS", default="logins.jsonl")  # or couchdb://127.0.0.1:5984/logins
COUCHDB = config("AMISS_COUCHDB_USERNAME", default=""), config("AMISS_COUCHDB_PASSWORD", default="")
ALERT = config("ALERT", default="console:")  # or mailto:{user}@example.com?from=login@example.com
GEOIP = config("GEOIP", default="")  # a database in MaxMind's format: addresses become countries
PROXIES = config("TRUSTED_PROXIES", default="")  # only these may say where a request came from: 10.0.0.0/8
SECRET = config("SECRET_KEY", cast=Secret, default=secrets.token_urlsafe())  # without one, a restart signs all out
TLS = config("TLS", cast=bool, default=True)  # 0 only to try it out: the cookie then travels without TLS

STEP_UP = {"high", "critical"}  # by chance less than 1 in 100 days for all users together
REPEATED = 2.0  # bits that the same again adds at most: what was believed once is not asked again
CODE_SECONDS, CODE_TRIES = 300, 3

log = logging.getLogger("web_login")
templates = Jinja2Templates(here / "templates")


# --- passwords


def hashed(password: str, salt: bytes) -> bytes:
    """A hash that is slow to guess: 16 MB and some 50 ms for each try."""
    return hashlib.scrypt(password.encode(), salt=salt, n=2**14, r=8, p=1)


def is_password(users: dict[str, dict[str, str]], name: str, password: str) -> bool:
    """Whether it is the user's password; takes as long where there is no such user."""
    known = users.get(name, {"salt": "00" * 16, "hash": "00" * 64})
    return hmac.compare_digest(hashed(password, bytes.fromhex(known["salt"])), bytes.fromhex(known["hash"]))


def read_users() -> dict[str, dict[str, str]]:
    """The users by name."""
    return json.loads(USERS.read_text()) if USERS.exists() else {}


def add_user(name: str) -> None:
    """Ask for a password, and keep its hash."""
    salt = secrets.token_bytes(16)
    password = getpass.getpass() if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
    USERS.write_text(
        json.dumps(read_users() | {name: {"salt": salt.hex(), "hash": hashed(password, salt).hex()}}, indent=2)
    )


# --- events


def event_of(request: Request, user: str, action: str, *, success: bool) -> dict[str, str]:
    """What happened, as amiss and the database get it."""
    return {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "user": user,
        "action": action,
        "outcome": "success" if success else "failure",
        "ip": request.client.host if request.client else "",
        "user_agent": request.headers.get("user-agent", "")[:500],
    }


def keep(event: dict[str, str]) -> None:
    """Write an event to the log; where that fails, nobody is kept from logging in."""
    try:
        if EVENTS.startswith("couchdb"):
            auth = COUCHDB if COUCHDB[0] else None
            httpx.post(EVENTS.replace("couchdb", "http", 1), json=event, auth=auth, timeout=5).raise_for_status()
        else:
            with Path(EVENTS).open("a") as file:
                file.write(json.dumps(event) + "\n")
    except (OSError, httpx.HTTPError):
        log.exception("an event was not written")


def judged(session: amiss.Session, event: dict[str, str]) -> amiss.Evidence:
    """How unlike its user a login is. Where that is worth an alert, the session's sinks send it."""
    try:
        found = session.score(event)
    except amiss.AmissError:
        log.exception("a login was not judged")
        return amiss.Evidence(0.0, 0.0)
    log.info("%s: %.1f bits, %s", event["user"], found.bits, found.severity)
    return found


def say(session: amiss.Session, alert: Alert, verdict: str) -> None:
    """Keep what came of an alert: "confirmed", nothing of that day is learned; "expected", all of it is."""
    session.feedback(alert, verdict, author="web_login")


# --- second factor


@dataclass
class Asked:
    """Somebody who has given a password and is asked for a code."""

    user: str
    code: str
    alert: Alert | None
    until: float
    tries: int = CODE_TRIES


# Both in memory, for one process; keep them in a database where a restart must not forget them.
asked: dict[str, Asked] = {}  # by a key in the cookie: who has the cookie can read it
doubted: dict[str, date] = {}  # users with an alert of that day for which no code was given: each login is asked


def is_asked(user: str, found: amiss.Evidence) -> bool:
    """Whether a login needs a code: since it is odd, or since one before it was, as thieves try again."""
    return doubted.get(user) == datetime.now(UTC).date() or (found.severity in STEP_UP and found.event_bits > REPEATED)


def ask(user: str, alert: Alert | None) -> str:
    """Send a code; the key of what is asked."""
    for key in [key for key, each in asked.items() if each.until < time.time()]:
        del asked[key]
    key, code = secrets.token_urlsafe(), f"{secrets.randbelow(10**6):06}"
    if alert:
        doubted[user] = datetime.now(UTC).date()
    asked[key] = Asked(user, code, alert, time.time() + CODE_SECONDS)
    log.warning("the code for %s is %s", user, code)  # send it by mail or use TOTP or passkeys; and do not log it
    return key


# --- pages


def page(request: Request, name: str, status: int = 200, **values: str) -> Response:
    """A page that no other site can frame, script or send forms for."""
    token = request.session.setdefault("csrf", secrets.token_urlsafe())
    headers = {
        "Cache-Control": "no-store",
        "Content-Security-Policy": "default-src 'none'; style-src 'self'; form-action 'self'; "
        "frame-ancestors 'none'; base-uri 'none'",
        "Referrer-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
    }
    return templates.TemplateResponse(request, name, {"csrf": token, **values}, status, headers)


def is_ours(request: Request, form: FormData) -> bool:
    """Whether a form came from a page of ours."""
    token = request.session.get("csrf", "")
    return bool(token) and hmac.compare_digest(token.encode(), str(form.get("csrf", "")).encode())


def signed_in(request: Request, user: str) -> Response:
    """To the home page, with a session of one's own; never to an address that a request names."""
    request.session.clear()
    request.session["user"] = user
    return RedirectResponse("/", 303)


async def home(request: Request) -> Response:
    """What only users see."""
    user = request.session.get("user")
    return page(request, "home.html", user=user) if user else RedirectResponse("/login", 303)


async def login(request: Request) -> Response:
    """Name and password; a second factor where a login is unlike its user."""
    if request.method == "GET":
        return page(request, "login.html")
    # Limit how often one may try here and at /code, by user and by address: at the proxy, or with a package.
    form = await request.form(max_fields=10)
    if not is_ours(request, form):
        return page(request, "login.html", 403, error="This page was too old. Try again.")
    users, name = read_users(), str(form.get("name", ""))
    success = await run_in_threadpool(is_password, users, name, str(form.get("password", "")))
    event = event_of(request, name, "login", success=success)
    if not success:
        answer = page(request, "login.html", 401, error="Name or password is wrong.")
        answer.background = BackgroundTask(keep, event) if name in users else None  # people type passwords as names
        return answer
    found = await run_in_threadpool(judged, request.state.amiss, event)
    if is_asked(name, found):
        if found.alert:
            await run_in_threadpool(say, request.state.amiss, found.alert, "confirmed")  # until the code is given
        request.session.clear()
        request.session["asked"] = ask(name, found.alert)
        answer = RedirectResponse("/code", 303)
    else:
        answer = signed_in(request, name)
    answer.background = BackgroundTask(keep, event)
    return answer


async def code(request: Request) -> Response:
    """The second factor."""
    key = request.session.get("asked", "")
    who = asked.get(key)
    if who is None or who.until < time.time():
        return RedirectResponse("/login", 303)
    if request.method == "GET":
        return page(request, "code.html")
    form = await request.form(max_fields=10)
    if not is_ours(request, form):
        return page(request, "code.html", 403, error="This page was too old. Try again.")
    who.tries -= 1
    success = hmac.compare_digest(who.code.encode(), str(form.get("code", "")).strip().encode())
    if success or who.tries == 0:
        del asked[key]
    if success:
        answer = signed_in(request, who.user)
        if who.alert and who.alert.escalated_from is None:  # a later one is not about this login alone
            doubted.pop(who.user, None)
            await run_in_threadpool(say, request.state.amiss, who.alert, "expected")
    elif who.tries:
        answer = page(request, "code.html", 401, error="That is not the code.")
    else:
        answer = RedirectResponse("/login", 303)
    answer.background = BackgroundTask(keep, event_of(request, who.user, "second factor", success=success))
    return answer


async def logout(request: Request) -> Response:
    """Forget who it was."""
    if is_ours(request, await request.form(max_fields=10)):
        request.session.clear()
    return RedirectResponse("/login", 303)


@asynccontextmanager
async def lifespan(_app: Starlette) -> AsyncIterator[dict[str, amiss.Session]]:
    """One session judges all logins; its state has one writer, so serve with one process."""
    judge = detector("login", geoip=GEOIP) if GEOIP else "login"
    with amiss.Session(STATE, detectors=[judge], alerts=[ALERT]) as session:
        yield {"amiss": session}


app = Starlette(
    routes=[
        Route("/", home),
        Route("/login", login, methods=["GET", "POST"]),
        Route("/code", code, methods=["GET", "POST"]),
        Route("/logout", logout, methods=["POST"]),
        Mount("/static", StaticFiles(directory=here / "static")),
    ],
    middleware=[Middleware(SessionMiddleware, secret_key=str(SECRET), https_only=TLS, same_site="lax", max_age=43_200)],
    lifespan=lifespan,
)

if __name__ == "__main__":
    if sys.argv[1:2] == ["add"]:
        add_user(sys.argv[2])
    else:
        logging.basicConfig(level="INFO", format="%(message)s")
        port = config("PORT", cast=int, default=8000)
        uvicorn.run(app, port=port, proxy_headers=bool(PROXIES), forwarded_allow_ips=PROXIES, log_level="warning")
