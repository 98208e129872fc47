"""Which internet addresses are everybody's. Pure: no look-up, no socket.

Python's own `is_global` lets multicast, relays and one cloud's metadata pass, and changes from
release to release; so it has to agree with the lists here, which say what they leave out and why.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

IPAddress = IPv4Address | IPv6Address

_V4_SPECIAL = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",
        "100.64.0.0/10",  # carriers' own; one cloud's metadata
        "127.0.0.0/8",
        "168.63.129.16/32",  # a cloud's host, with metadata, though it looks public
        "169.254.0.0/16",  # link-local; most clouds' metadata
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",  # documentation, as the other two below
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)
_V6_GLOBAL = IPv6Network("2000::/3")
_V6_SPECIAL = tuple(
    IPv6Network(text)
    for text in (
        "2001::/23",  # protocols: Teredo, ORCHID, benchmarks
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: an IPv4 address inside
        "3fff::/20",  # documentation
    )
)
# Where a network has no IPv4, this prefix leads to IPv4 addresses: the last 32 bits.
_NAT64 = IPv6Network("64:ff9b::/96")


def is_public(address: IPAddress) -> bool:
    """Whether an address belongs to the public internet, whatever it is wrapped into."""
    if isinstance(address, IPv4Address):
        return address.is_global and not any(address in network for network in _V4_SPECIAL)
    if address.scope_id is not None:
        return False
    if address in _NAT64:
        return is_public(IPv4Address(int(address) & 0xFFFF_FFFF))
    if address not in _V6_GLOBAL:
        return False
    return address.is_global and not any(address in network for network in _V6_SPECIAL)


def parse_address(text: str) -> IPAddress:
    """An address as a resolver writes it.

    Raises:
        ValueError: it is none.
    """
    return ip_address(text)
