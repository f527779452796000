"""Addresses as logs write them."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amiss.addresses import SPECIAL, Ranges, is_address, network_of, packed, read_ranges, spelled
from amiss.errors import ConfigError

PARTS = st.text(st.sampled_from("0123456789abcdef.:[]%/, -\x00é٣g"), max_size=60)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.7", "192.0.2.7"),
        (" 192.0.2.7\n", "192.0.2.7"),
        ("192.0.2.7:5678", "192.0.2.7"),
        ('"192.0.2.7"', "192.0.2.7"),
        ("/192.0.2.7:5678", "192.0.2.7"),
        ("192.0.2.7/32", "192.0.2.7"),
        ("192.0.2.7, 10.0.0.1, 10.0.0.2", "192.0.2.7"),
        ("2001:DB8:0:0:0::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("2001:db8::1/128", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("[fe80::1%25eth0]:80", "fe80::1"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("::FFFF:c000:0207", "192.0.2.7"),
        ("64:ff9b::192.0.2.7", "192.0.2.7"),
        ("2002:c000:0207::1", "192.0.2.7"),
        ("::1", "::1"),
    ],
)
def test_an_address_has_one_spelling_however_a_log_writes_it(text: str, address: str) -> None:
    """Ports, brackets, zones and capitals are left out; IPv6 that carries IPv4 is that."""
    assert spelled(packed(text)) == address


@pytest.mark.parametrize(
    "text",
    [
        None, "", "-", "unknown", "localhost", "web.example.org", "1.2.3", "1.2.3.4.5", "256.1.1.1", "010.1.1.1",
        "1.2.3.4:", "1.2.3.4:http", "1.2.3.4/8", "[2001:db8::1", "[2001:db8::1]443", "2001:db8::1::2", "3232235777",
        "0x7f.1.1.1", "\u0661.\u0662.\u0663.\u0664", "1.2.3.4\x00",
        "1.2.3.4 5", "<script>", ":" * 5_000_000, "1" * 5_000_000,
    ],
)  # fmt: skip
def test_what_is_no_address_is_unknown(text: str | None) -> None:
    """Garbage is nothing, not an error."""
    assert spelled(packed(text)) == ""
    assert network_of(packed(text)) == ""


@given(PARTS)
def test_no_text_whatever_raises(text: str) -> None:
    """A text either is an address, spelled as it is read again, or it is none."""
    found = packed(text)
    assert len(found) in (0, 4, 16)
    assert packed(spelled(found)) == found
    assert is_address(text) == bool(found)


@given(st.ip_addresses())
def test_every_address_is_read(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    """All that the standard library writes is an address, with a port too."""
    text = str(address)
    assert packed(text)
    assert packed(f"[{text}]:80" if ":" in text else f"{text}:80") == packed(text)


def test_networks_are_of_24_and_48_bits() -> None:
    """The /24 of IPv4, the /48 of IPv6."""
    assert network_of(packed("203.0.113.9")) == "203.0.113.0/24"
    assert network_of(packed("2001:db8:aa:bb::1")) == "2001:db8:aa::/48"
    assert network_of(packed("::ffff:203.0.113.9")) == "203.0.113.0/24"


@pytest.mark.parametrize(
    "text",
    [
        "10.255.0.1", "172.31.0.1", "192.168.1.1", "127.0.0.1", "169.254.9.9", "100.64.0.1", "100.127.255.255",
        "0.0.0.0", "224.0.0.1", "255.255.255.255", "198.19.0.1", "::1", "::", "fc00::1", "fd12::1", "fe80::1",
        "fec0::1", "ff02::1", "::ffff:10.0.0.1", "2001:0:1::1",
    ],
)  # fmt: skip
def test_private_shared_local_and_reserved_addresses_are_special(text: str) -> None:
    """Also as they are mapped into IPv6."""
    assert packed(text) in SPECIAL


@pytest.mark.parametrize(
    "text", ["9.255.255.255", "11.0.0.0", "172.32.0.1", "100.63.255.255", "100.128.0.0", "223.255.255.255", "192.0.2.7",
             "203.0.113.9", "198.51.100.1", "2001:db8::1", "2606:4700::1", "2a00::1"],
)  # fmt: skip
def test_public_addresses_and_those_for_documentation_are_not(text: str) -> None:
    """What stands next to special ranges is ordinary; documentation's addresses stand for ordinary ones."""
    assert packed(text) not in SPECIAL


def test_ranges_of_a_file_may_overlap_and_have_comments(tmp_path: Path) -> None:
    """Networks, addresses, published tables with further columns; `#` begins a comment."""
    path = tmp_path / "vpn.txt"
    path.write_text(
        "\ufeff# ours\n\n198.51.100.0/24\n198.51.100.128/25  # half of it\n203.0.113.7\n192.0.2.9/28,GB,London\n"
        "2001:db8::/32\n",
        encoding="utf-8",
    )
    ranges = read_ranges([str(path)])
    inside = ["198.51.100.0", "198.51.100.255", "203.0.113.7", "192.0.2.0", "192.0.2.15", "2001:db8:ffff::1"]
    outside = ["198.51.99.255", "198.51.101.0", "203.0.113.8", "192.0.2.16", "2001:db9::"]
    assert all(packed(text) in ranges for text in inside)
    assert not any(packed(text) in ranges for text in outside)
    assert b"" not in ranges


@given(st.lists(st.tuples(st.integers(0, 255), st.integers(0, 8)), max_size=8), st.integers(0, 255))
def test_ranges_hold_what_their_networks_hold(spans: list[tuple[int, int]], last: int) -> None:
    """However they overlap, an address is in all of them if it is in one of them."""
    networks = [ipaddress.ip_network(f"192.0.2.{at}/{24 + bits}", strict=False) for at, bits in spans]
    address = f"192.0.2.{last}"
    assert (packed(address) in Ranges(networks)) == any(ipaddress.ip_address(address) in one for one in networks)


def test_lines_that_are_no_networks_are_told_with_their_numbers(tmp_path: Path) -> None:
    """The first ten of them, each with what stands there."""
    path = tmp_path / "vpn.txt"
    path.write_text("10.0.0.0/8\nvpn.example.org\n# fine\n10.0.0.0/99\n")
    with pytest.raises(ConfigError) as raised:
        read_ranges([str(path)])
    assert str(raised.value).splitlines() == [
        f'{path}:2: expected a network such as 192.0.2.0/24, found "vpn.example.org"',
        f'{path}:4: expected a network such as 192.0.2.0/24, found "10.0.0.0/99"',
    ]


def test_a_file_that_is_not_there_or_no_text_is_said(tmp_path: Path) -> None:
    """With its name and why."""
    with pytest.raises(ConfigError, match=r"absent\.txt: expected a file of networks, one a line, but No such file"):
        read_ranges([str(tmp_path / "absent.txt")])
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"binary: .* but it is not UTF-8 text"):
        read_ranges([str(tmp_path / "binary")])
