"""Access logs of web servers: common and combined format, one request a line.

The user is the authenticated name, else the address. The action is the method and a template of the path, so that a
site has some hundred actions, not one per page: ids, numbers, dates, titles and tokens become `{id}`, files of a kind
in a folder become one (`/images/*.png`), paths that are not there are all `(not found)`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import unquote

import polars as pl

from amiss.fields import words
from amiss.sources.rows import Line, Reject, readable

ROLES: Final = {
    "time": "time",
    "user": "user",
    "action": "action",
    "outcome": "status",
    "ip": "ip",
    "user_agent": "user_agent",
    "resource": "resource",
}
COLUMNS: Final = (
    "time", "user", "action", "status", "ip", "user_agent", "resource", "auth_user", "bytes", "referer"
)  # fmt: skip
MALFORMED: Final = "(malformed request)"

_QUOTED: Final = r'"([^"\\]*(?:\\.[^"\\]*)*)"'
_LINE: Final = re.compile(
    rf"(?:\S+:\d+ )?(\S+) (\S+) (.{{1,256}}?) \[([^\]\[]{{1,64}})\] "
    rf"{_QUOTED} (\d{{3}}|-) (\d+|-)(?: {_QUOTED} {_QUOTED})?(?: .*)?"
)
_REQUEST: Final = re.compile(r"([A-Za-z_-]{3,20}) (\S.*?)(?: HTTP/\d(?:\.\d)?)?")
_METHODS: Final = frozenset(
    words(
        "GET HEAD POST PUT PATCH DELETE OPTIONS CONNECT TRACE "
        "PROPFIND PROPPATCH MKCOL COPY MOVE LOCK UNLOCK REPORT SEARCH"
    )
)
_FOLDED: Final = dict.fromkeys(("400", "404", "405", "410", "414", "501"), "(not found)") | {
    "301": "(moved)",
    "308": "(moved)",
    "403": "(forbidden)",
}
"""Answers that say nothing about the path but that it is none: a scanner asks for thousands of them."""

_ASSETS: Final = frozenset(
    words(
        "png jpg jpeg gif svg ico webp avif bmp css js mjs map woff woff2 ttf eot otf mp3 mp4 webm ogg avi mov pdf zip "
        "gz tgz bz2 xz tar jar war exe msi dmg deb rpm iso txt csv xls xlsx doc docx ppt pptx odt swf wasm"
    )
)
_DEPTH: Final = 3
_SEGMENT_LIMIT: Final = 24
_CACHE_LIMIT: Final = 50_000
_ID: Final = re.compile(
    r"\d+"  # numbers
    r"|\d{4}-\d\d(-\d\d)?"  # dates
    r"|[0-9a-fA-F]{8}-?([0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}"  # UUIDs
    r"|(?=.*\d)[0-9a-fA-F]{6,}"  # hexadecimal tokens
    r"|(?=.*\d)(?=.*[A-Z])(?=.*[a-z])[\w\-=.~+]{6,}"  # tokens of mixed case and digits
    r"|(?=(.*\d){3})[\w\-=.~+]{4,}"  # three digits or more: counted names
    r"|.*[^\w.\-~+@:]+.*"  # encoded or odd characters
)


def is_access_line(text: str) -> bool:
    """Whether a line is of the common or combined format.

    Examples
    --------
    >>> is_access_line('10.0.0.1 - ann [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 5')
    True
    """
    return _LINE.fullmatch(text) is not None


def template(method: str, path: str, status: str = "200") -> str:
    """The action of a request: its method and the shape of its path.

    Examples
    --------
    >>> template("GET", "/user/4711/orders?page=2"), template("GET", "/images/logo.png"), template("GET", "/xyz", "404")
    ('GET /user/{id}/orders', 'GET /images/*.png', 'GET (not found)')
    """
    verb = method.upper() if method.upper() in _METHODS else "(other method)"
    return f"{verb} {_FOLDED.get(status) or _shape(path)}"


def _shape(path: str) -> str:
    """The path without its query, ids folded, at most three segments deep."""
    bare = re.sub(r"^[a-zA-Z]+://[^/]*", "", re.split(r"[?#;]", path, maxsplit=1)[0])
    segments = [unquote(segment) for segment in bare.split("/") if segment]
    if ".." in segments:
        return "(path traversal)"
    if not segments:
        return "/"
    folder = bare.endswith("/")
    last = segments[-1]
    names = [_segment(segment, depth) for depth, segment in enumerate(segments[:_DEPTH])]
    extension = last.rpartition(".")[2].lower() if "." in last and not folder else ""
    kind = f"*.{extension}" if extension in _ASSETS else ""
    if len(segments) > _DEPTH:
        names = [*names[: _DEPTH - 1], "…", kind or "*"]
    elif kind:
        names[-1] = kind
    return "/" + "/".join(names) + ("/" if folder and len(segments) <= _DEPTH else "")


def _segment(segment: str, depth: int) -> str:
    """A name as it is, an id, token, title or long name as `{id}`, an extension kept."""
    stem, dot, extension = segment.rpartition(".")
    if dot and stem and re.fullmatch(r"[A-Za-z][A-Za-z0-9]{0,5}", extension):
        return f"{'{id}' if _is_id(stem, depth) else stem}.{extension}"
    return "{id}" if _is_id(segment, depth) else segment


def _is_id(name: str, depth: int) -> bool:
    """Whether a name stands for one of many: too long, a token, or a title of several words below the top."""
    joints = name.count("-") + name.count("_")
    is_title = depth >= 1 and joints >= (2 if depth == 1 else 1)
    return is_title or len(name) > _SEGMENT_LIMIT or _ID.fullmatch(name) is not None


def raw(lines: Iterable[Line], reject: Reject, *, latin1: bool = False) -> pl.DataFrame:
    """The raw columns of numbered lines of an access log.

    A request that is none (`-`, a TLS handshake, random bytes) is kept as the action `(malformed request)`.
    """
    cache: dict[tuple[str, str], tuple[str, str]] = {}
    rows = []
    for number, text in readable(lines, reject, latin1=latin1):
        match = _LINE.fullmatch(text)
        if match is None:
            reject(number, "not a line of an access log", text)
            continue
        host, _, name, time, request, status, size, referer, agent = match.groups()
        key = (request, status)
        if key not in cache:
            if len(cache) >= _CACHE_LIMIT:
                cache.clear()
            cache[key] = _request(request, status)
        action, resource = cache[key]
        user = name.strip('"') if name not in ("-", '""') else host
        account = user if name not in ("-", '""') else None
        rows.append((number, time, user, action, status, host, agent, resource, account, size, referer))
    types = dict.fromkeys(COLUMNS, pl.String())
    return pl.DataFrame(rows, schema={"position": pl.Int64(), **types}, orient="row")


def _request(request: str, status: str) -> tuple[str, str]:
    """Action and path of the request as logged."""
    match = _REQUEST.fullmatch(request)
    if match is None or "\\x" in request[:8]:
        return MALFORMED, request
    return template(match[1], match[2], status), match[2]
