"""URL and address rules, pure: which URLs are well-formed, which addresses may be reached.

The verbs ask here when a URL is recorded, and the connector of the workers asks again for every
address it is about to connect to. No name is resolved in here and no socket is opened: a name
that leads to a forbidden address passes `check_url` and is refused at connect time.
"""

import re
import unicodedata
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import idna
import msgspec

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

REFUSED = "leads to an address that this engine does not fetch from"
PORTS = {"http": 80, "https": 443}

# Written out instead of asking `ipaddress.is_global`, whose answer changes between Python
# releases and which calls several of these (6to4, NAT64, multicast) global.
FORBIDDEN_V4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network; Linux connects 0.0.0.0 to itself
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # shared by carriers (CGNAT), and by some clouds for metadata
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # the Azure host, though its range is public
        "169.254.0.0/16",  # link-local, with the metadata services
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112 name service
        "192.52.193.0/24",  # multicast tunnels (AMT)
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112 name service
        "198.18.0.0/15",  # benchmarking
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)

# Only 2000::/3 is handed out as global unicast, so all around it is refused in three blocks.
FORBIDDEN_V6 = tuple(
    IPv6Network(network)
    for network in (
        "::/3",  # ::, ::1, IPv4-compatible, NAT64 64:ff9b::/96 and 64:ff9b:1::/48, discard 100::/64
        "2001::/23",  # protocol assignments: Teredo, benchmarking, ORCHID
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4, which carries an IPv4 address
        "2620:4f:8000::/48",  # AS112 name service
        "3ffe::/16",  # the 6bone, given back
        "3fff::/20",  # documentation
        "4000::/2",  # unassigned, with SRv6 5f00::/16
        "8000::/1",  # unassigned, fc00::/7 private, fe80::/10 link-local, fec0::/10, ff00::/8
    )
)

# They hand out the credentials of the machine, so no setting opens them.
METADATA_NETWORKS: tuple[Network, ...] = tuple(
    ip_network(network)
    for network in (
        "169.254.169.0/24",  # AWS, Azure, Google, Oracle, DigitalOcean, OpenStack and others
        "169.254.170.0/24",  # AWS containers
        "169.254.42.42/32",  # Scaleway
        "169.254.0.23/32",  # Tencent
        "168.63.129.16/32",  # Azure
        "192.0.0.192/32",  # Oracle
        "100.100.100.200/32",  # Alibaba
        "fd00:ec2::/32",  # AWS
        "fd20:ce::254/128",  # Google
        "fd00:42::42/128",  # Scaleway
        "fd00:c1::a9fe:a9fe/128",  # Oracle
    )
)
METADATA_HOSTS = frozenset(
    {
        "instance-data",
        "instance-data.ec2.internal",
        "metadata",
        "metadata.azure.internal",
        "metadata.goog",
        "metadata.google.internal",
        "metadata.tencentyun.com",
    }
)

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)(.*)", re.DOTALL)
_AUTHORITY = re.compile(r"(\[[^\[\]@]*\]|[^\[\]:@]*)(?::([0-9]{0,5}))?")
_LABEL = re.compile(r"[a-z0-9_-]{1,63}")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_NAME_CHARACTERS_MAX = 253
_PORT_MAX = 65_535
_ISATAP = frozenset({0x00005EFE, 0x02005EFE})


class UrlError(ValueError):
    """The URL cannot be fetched as it is written. The text is an issue: "must ..."."""


class AddressError(UrlError):
    """The URL spells an address that is not fetched from."""

    def __init__(self) -> None:
        super().__init__(REFUSED)


class AllowListError(ValueError):
    """An entry of the allow list is neither a network nor host:port; the text names it."""


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Where a URL leads: `host` is ASCII, lower case, without brackets or a final dot."""

    scheme: str
    host: str
    port: int
    address: Address | None


class AllowList(msgspec.Struct, frozen=True, kw_only=True):
    """What may be reached although its address is forbidden; metadata services never."""

    networks: tuple[Network, ...] = ()
    endpoints: frozenset[tuple[str, int]] = frozenset()

    @classmethod
    def parse(cls, entries: Iterable[str]) -> "AllowList":
        """Read CIDRs, addresses, `host:port`, `ip:port` and `[ipv6]:port`.

        Raises AllowListError on anything else, a network with host bits set included.
        """
        networks: list[Network] = []
        endpoints: set[tuple[str, int]] = set()
        for entry in entries:
            parsed = _parse_entry(entry.strip())
            if isinstance(parsed, tuple):
                endpoints.add(parsed)
            else:
                networks.append(parsed)
        return cls(networks=tuple(networks), endpoints=frozenset(endpoints))

    def is_allowed(self, address: Address, *, port: int, host: str) -> bool:
        """Whether the list names this address, by its network, itself or the name it came from."""
        if is_metadata(address) or _canonical(host) in METADATA_HOSTS:
            return False
        plain = _plain(address)
        if any(plain in network for network in self.networks):
            return True
        return bool({(_canonical(host), port), (str(plain), port)} & self.endpoints)


NOTHING_ALLOWED = AllowList()


def check_url(url: str, *, characters_max: int, allow_list: AllowList = NOTHING_ALLOWED) -> str:
    """Return the URL in its form for comparing (see `normalise_url`).

    Raises UrlError with a plain issue when it is malformed, too long, neither http nor https, or
    carries credentials; AddressError when it spells a forbidden address in any notation, unless
    the allow list names that, or the name of a metadata service.
    """
    if len(url) > characters_max:
        raise UrlError(f"must have at most {characters_max} characters")
    target = split_url(url)
    if target.host in METADATA_HOSTS:
        raise AddressError
    address = target.address
    if address is not None and not is_reachable(
        address, port=target.port, host=target.host, allow_list=allow_list
    ):
        raise AddressError
    return normalise_url(url)


def split_url(url: str) -> Target:
    """Take a URL apart by RFC 3986, strictly. Raises UrlError, AddressError for a zone id."""
    if "\\" in url or any(_is_blank(character) for character in url):
        raise UrlError("must not contain spaces, control characters or backslashes")
    parts = _URL.fullmatch(url)
    if parts is None or parts[1].lower() not in PORTS:
        raise UrlError("must start with http:// or https://")
    scheme, authority = parts[1].lower(), parts[2]
    if "@" in authority:
        raise UrlError("must not contain a user name or password")
    pair = _AUTHORITY.fullmatch(authority)
    if pair is None:
        raise UrlError("must have a valid host and port")
    port = int(pair[2]) if pair[2] else PORTS[scheme]
    if not 1 <= port <= _PORT_MAX:
        raise UrlError(f"must have a port between 1 and {_PORT_MAX}")
    if not pair[1]:
        raise UrlError("must have a host")
    host, address = _read_host(pair[1])
    return Target(scheme=scheme, host=host, port=port, address=address)


def normalise_url(url: str) -> str:
    """Lower-case scheme and host, drop the default port and the fragment; for comparing only.

    A text that is not an absolute URL only loses its fragment.
    """
    url = url.partition("#")[0]
    parts = _URL.fullmatch(url)
    if parts is None:
        return url
    scheme = parts[1].lower()
    authority = parts[2].lower()
    pair = _AUTHORITY.fullmatch(authority)
    if pair and (not pair[2] or int(pair[2]) == PORTS.get(scheme)):
        authority = pair[1]
    return f"{scheme}://{authority}{parts[3]}"


def is_reachable(address: Address, *, port: int, host: str, allow_list: AllowList) -> bool:
    """Whether a connection to `address` may be opened, for a URL that named `host`."""
    if is_metadata(address) or _canonical(host) in METADATA_HOSTS:
        return False
    return not is_forbidden(address) or allow_list.is_allowed(address, port=port, host=host)


def is_forbidden(address: Address) -> bool:
    """Whether the address is outside the public internet, by the tables above."""
    plain = _plain(address)
    if isinstance(plain, IPv4Address):
        return any(plain in network for network in FORBIDDEN_V4)
    is_isatap = (int(plain) >> 32) & 0xFFFFFFFF in _ISATAP
    return is_isatap or any(plain in network for network in FORBIDDEN_V6)


def is_metadata(address: Address) -> bool:
    """Whether a cloud's metadata service answers there, also through an IPv6 tunnel prefix."""
    plain = _plain(address)
    return any(
        candidate in network
        for candidate in (plain, *_embedded(plain))
        for network in METADATA_NETWORKS
    )


def literal_address(host: str) -> Address | None:
    """The IPv4 address that `host` spells the way resolvers read it, else None.

    One to four numbers, each decimal, octal (0...) or hexadecimal (0x...). Raises UrlError when
    the last label is a number and the whole is no address: no top-level domain is a number.
    """
    labels = host.split(".")
    if not _NUMBER.fullmatch(labels[-1]):
        return None
    numbers = [_number(label) for label in labels]
    *heads, last = numbers
    if len(numbers) > 4 or any(head > 255 for head in heads) or last >= 256 ** (4 - len(heads)):
        raise UrlError("must have a valid address as its host")
    value = last
    for position, head in enumerate(heads):
        value += head << (8 * (3 - position))
    return IPv4Address(value)


def _number(label: str) -> int:
    try:
        if label.startswith("0x") and _NUMBER.fullmatch(label):
            return int(label[2:] or "0", 16)
        if label.isascii() and label.isdigit():
            return int(label, 8 if label.startswith("0") else 10)
    except ValueError as error:
        raise UrlError("must have a valid address as its host") from error
    raise UrlError("must have a valid address as its host")


def _read_host(host: str) -> tuple[str, Address | None]:
    if host.startswith("["):
        return _read_ipv6(host[1:-1])
    name = _canonical(_ascii_name(host))
    labels = name.split(".")
    if len(name) > _NAME_CHARACTERS_MAX or not all(_LABEL.fullmatch(label) for label in labels):
        raise UrlError("must have a valid host name")
    return name, literal_address(name)


def _read_ipv6(text: str) -> tuple[str, Address]:
    # A zone names an interface of this machine, so it never leads to the public internet.
    if "%" in text:
        raise AddressError
    try:
        address = IPv6Address(text)
    except ValueError as error:
        raise UrlError("must have a valid address as its host") from error
    return str(address), address


def _ascii_name(host: str) -> str:
    if host.isascii():
        return host.lower()
    try:
        return idna.encode(host.lower()).decode("ascii")
    except idna.IDNAError as error:
        raise UrlError("must have a host name that is valid in IDNA") from error


def _is_blank(character: str) -> bool:
    return unicodedata.category(character) in {"Cc", "Cs", "Zs", "Zl", "Zp"}


def _canonical(host: str) -> str:
    return host.lower().removesuffix(".")


def _plain(address: Address) -> Address:
    # The kernel connects an IPv4-mapped address by IPv4, so it is judged as what it carries. A
    # scope id would make equal addresses differ.
    if isinstance(address, IPv4Address):
        return address
    return address.ipv4_mapped or IPv6Address(int(address))


def _embedded(address: Address) -> tuple[IPv4Address, ...]:
    if isinstance(address, IPv4Address):
        return ()
    tunnels = (address.sixtofour, address.teredo and address.teredo[1])
    # NAT64 and IPv4-compatible addresses end in the IPv4 address, under any operator's prefix.
    return (IPv4Address(int(address) & 0xFFFFFFFF), *(tunnel for tunnel in tunnels if tunnel))


def _parse_entry(entry: str) -> Network | tuple[str, int]:
    try:
        return ip_network(entry)
    except ValueError:
        return _parse_endpoint(entry)


def _parse_endpoint(entry: str) -> tuple[str, int]:
    pair = _AUTHORITY.fullmatch(entry)
    if pair is None or not pair[1] or not pair[2] or not 1 <= int(pair[2]) <= _PORT_MAX:
        raise AllowListError(f"{entry!r} is neither a network like 10.0.0.0/8 nor host:port")
    try:
        host, address = _read_host(pair[1])
    except UrlError as error:
        raise AllowListError(f"{entry!r}: {pair[1]!r} is not a host") from error
    return (host if address is None else str(_plain(ip_address(address)))), int(pair[2])
