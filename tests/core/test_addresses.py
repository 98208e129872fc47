"""No address that is not everybody's is ever public, however it is spelt or wrapped."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from studio.core.addresses import IPAddress, is_public
from studio.core.fetching import FetchError, Guard, fetch, is_for_us, look_up

# Said once more, by other means than in the code: the registries' blocks as whole networks.
NOT_PUBLIC_4 = [
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "168.63.129.16/32",
    "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.168.0.0/16",
    "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
]  # fmt: skip
NOT_PUBLIC_6 = [
    "::/128", "::1/128", "::/96", "::ffff:0:0/96", "64:ff9b:1::/48", "100::/64", "2001::/32",
    "2001:2::/48", "2001:db8::/32", "2002::/16", "3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10",
    "fec0::/10", "ff00::/8",
]  # fmt: skip


def in_v4(network: IPv4Network) -> st.SearchStrategy[IPv4Address]:
    first, last = int(network[0]), int(network[-1])
    return st.integers(first, last).map(IPv4Address)


def in_v6(network: IPv6Network) -> st.SearchStrategy[IPv6Address]:
    first, last = int(network[0]), int(network[-1])
    return st.integers(first, last).map(IPv6Address)


private_4 = st.sampled_from(NOT_PUBLIC_4).map(IPv4Network).flatmap(in_v4)
private_6 = st.sampled_from(NOT_PUBLIC_6).map(IPv6Network).flatmap(in_v6)


def spellings(address: IPv4Address) -> list[str]:
    """What a URL may call an IPv4 address, all of which the system's resolver understands."""
    number = int(address)
    a, b, c, d = address.packed
    return [
        str(address),
        f"{address}.",
        str(number),
        hex(number),
        oct(number).replace("0o", "0"),
        f"{a:#x}.{b:#x}.{c:#x}.{d:#x}",
        f"0{a:o}.0{b:o}.0{c:o}.0{d:o}",
        f"{a}.{number & 0xFFFFFF}",
        f"{a}.{b}.{number & 0xFFFF}",
        f"[::ffff:{address}]",
        f"[::ffff:{number >> 16:x}:{number & 0xFFFF:x}]",
        f"[::{address}]",
        f"[64:ff9b::{address}]",
        f"[2002:{number >> 16:x}:{number & 0xFFFF:x}::1]",
        f"[64:ff9b:1::{address}]",
        str(address).replace(".", "。"),
    ]


@given(private_4 | private_6)
@example(ip_address("169.254.169.254"))
@example(ip_address("fd00:ec2::254"))
@example(ip_address("100.100.100.200"))
def test_what_is_not_global_is_not_public(address: IPAddress) -> None:
    assert not is_public(address)


@given(private_4, st.data())
def test_no_spelling_of_an_address_that_is_not_global_is_fetched(
    address: IPv4Address, data: st.DataObject
) -> None:
    connected: list[IPAddress] = []

    def allows(found: IPAddress) -> bool:
        if is_for_us(found):
            connected.append(found)
        return False  # so that a mistake in the guard connects to nothing

    host = data.draw(st.sampled_from(spellings(address)))
    with pytest.raises(FetchError):
        fetch(f"http://{host}/", max_bytes=10, guard=Guard(allows=allows))
    assert connected == []


@given(private_6)
def test_no_ipv6_address_that_is_not_global_is_fetched(address: IPv6Address) -> None:
    with pytest.raises(FetchError):
        fetch(f"http://[{address}]/", max_bytes=10)


@given(st.ip_addresses())
def test_what_is_public_is_global_and_no_multicast(address: IPAddress) -> None:
    if is_public(address) and not str(address).startswith("64:ff9b::"):
        assert address.is_global
        assert not (address.is_multicast or address.is_reserved or address.is_private)


@pytest.mark.parametrize(
    "text", ["93.184.215.14", "8.8.8.8", "2606:2800:21f::1", "2a00:1450:4001::200e"]
)
def test_the_internet_is_public(text: str) -> None:
    assert is_public(ip_address(text))


def test_an_address_behind_nat64_is_what_it_leads_to() -> None:
    assert is_public(ip_address("64:ff9b::8.8.8.8"))
    assert not is_public(ip_address("64:ff9b::10.0.0.1"))


def test_an_address_with_a_scope_is_not_public() -> None:
    assert not is_public(ip_address("2606:2800:21f::1%eth0"))


@pytest.mark.parametrize("host", ["localhost", "localhost.", "LOCALHOST", "0x7f.1", "0", "127.1"])
def test_the_resolver_is_asked_about_every_spelling(host: str) -> None:
    try:
        found = look_up(host, 80)
    except socket.gaierror:
        return
    assert not any(is_public(ip_address(text)) for text in found)


def test_this_machine_is_not_for_us_under_any_address() -> None:
    for text in {*look_up(socket.gethostname(), 80), "127.0.0.1", "::1"}:
        assert not is_for_us(ip_address(text))
