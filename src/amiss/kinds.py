"""What networks are for: homes, phones, offices, machines; as logs, databases and the names of operators tell it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

KINDS: Final = ("", "home", "mobile", "business", "school", "public", "hosting", "vpn", "other")
_, HOME, MOBILE, BUSINESS, SCHOOL, PUBLIC, HOSTING, VPN, OTHER = KINDS
"""Kinds of networks: lines of homes; of phones; of offices; of schools and universities; of places where anybody comes,
such as hotels, cafés, libraries; of machines; and of those who hide whence they come."""

_NAMES: Final[Mapping[str, str]] = {
    HOME: "home residential residence consumer isp broadband cable dsl cabledsl xdsl adsl vdsl fiber fibre ftth fttx"
    " fixed fixedline fixedlineisp dial dialup satellite isprouter router",
    MOBILE: "mobile mob cellular cell wireless mobileisp mobilenetwork mobilecarrier mobileoperator wirelessisp wwan"
    " 2g 3g 4g 5g lte gsm umts",
    BUSINESS: "business corporate com comp commercial company enterprise organization organisation org government gov"
    " governmental military mil bank banking office",
    SCHOOL: "school college university education educational edu academic campus",
    PUBLIC: "public traveler traveller hotel cafe café library lib airport publicwifi",
    HOSTING: "hosting hostingprovider webhosting datacenter datacentre dch dc cdn contentdeliverynetwork"
    " contentdelivery cloud cloudprovider server searchenginespider searchengine spider ses crawler",
    VPN: "vpn anonymous anonymousvpn anonymizer anonymiser proxy publicproxy openproxy webproxy residentialproxy tor"
    " torexit torexitnode relay privaterelay consumerprivacynetwork consumerprivacy",
}
_KINDS: Final = {name: kind for kind, names in _NAMES.items() for name in names.split()}
_NOTHING: Final = frozenset(
    "unknown none null nan na other rsv reserved undefined false inactive private ipv4 ipv6 wifi wlan lan wired"
    " ethernet".split()
) | {""}
"""Words that tell no kind, those of the nearest hop among them: behind a wireless LAN is any network."""

_WORDS: Final[Mapping[str, str]] = {
    VPN: r"vpns?|proxy|proxies|tor exit\w*",
    HOSTING: r"(?:web)?host(?:ing|ed|er)|hébergement|hebergement|data ?cent(?:er|re)s?|rechenzentr\w+|clouds?|vps"
    r"|servers?|coloc?(?:ation)?|cdn",
    MOBILE: r"mobiles?|wireless|cellular|gsm|lte|m[óo]vil(?:es)?|mobilfunk\w*|celular",
    SCHOOL: r"universi[td]\w+|colleges?|schools?|campus|(?:fach)?hochschule\w*|écoles?|lycées?|escuelas?",
    PUBLIC: r"hotels?|hostels?|airports?|flughafen|aéroport|aeropuerto|library|libraries|biblioth\w+|bibliotecas?"
    r"|cafés?",
    HOME: r"broadband|cable|[av]?dsl|fib(?:er|re|ra)|ftth|residential|breitband|kabel|glasfaser",
    BUSINESS: r"business|corporate|bank|banque|sparkasse|ministry|ministère|ministerium|ministerio|government",
}
_OF_WORDS: Final = re.compile(
    "|".join(rf"(?P<{kind}>\b(?:{words})\b)" for kind, words in _WORDS.items()), re.IGNORECASE
)
_SEPARATED: Final = re.compile(r"[/,;|()+]")
_LONGEST: Final = 100
_KNOWN: Final = 65_536


def kind_named(text: str) -> str:
    """The kind of network that a word of a log or a database means; "other" if none is known for it.

    Words of MaxMind (user type, connection type), IPinfo, IP2Location (usage type) and the like are known, and those of
    :data:`KINDS`. Of several, as in `ISP/MOB`, the first that is known counts.

    Parameters
    ----------
    text
        Capitals, blanks and signs do not matter; what is behind its first 100 characters is not looked at.

    Returns
    -------
    kind
        One of :data:`KINDS`; "" for what tells nothing, such as `-`, `unknown` or `wifi`.

    Examples
    --------
    >>> [kind_named(text) for text in ("Cable/DSL", "cellular", "DCH", "hosting", "isp", "traveler", "VPN", "-")]
    ['home', 'mobile', 'hosting', 'hosting', 'home', 'public', 'vpn', '']
    >>> kind_named("Data Center/Web Hosting/Transit"), kind_named("token ring")
    ('hosting', 'other')
    """
    short = text[:_LONGEST].lower()
    letters = _letters(short)
    if letters in _NOTHING:
        return ""
    named = (_KINDS.get(each) for each in (letters, *map(_letters, _SEPARATED.split(short))))
    return next(filter(None, named), OTHER)


def _letters(text: str) -> str:
    """Letters and digits alone."""
    return "".join(filter(str.isalnum, text))


def kind_of_operator(name: str) -> str:
    """The kind of network that the name of its operator speaks of; empty where it does not.

    Only whole words count, of the first 100 characters. Of several kinds the most telling counts: a VPN's, then a
    hoster's, a phone company's, a school's, a place's, lines of homes, offices.

    Examples
    --------
    >>> [kind_of_operator(name) for name in ("AS64500 Acme Mobile", "Example Cloud GmbH", "Acme Telecom")]
    ['mobile', 'hosting', '']
    >>> kind_of_operator("ACME_MOBILE-NET"), kind_of_operator("Automobiles Acme")
    ('mobile', '')
    """
    return _of_name(name[:_LONGEST])


@lru_cache(_KNOWN)
def _of_name(name: str) -> str:
    found = {match.lastgroup for match in _OF_WORDS.finditer(name.replace("_", " "))}
    return next((kind for kind in _WORDS if kind in found), "")
