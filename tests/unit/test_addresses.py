"""engine.addresses: which URLs are well-formed, which addresses may be reached."""

import string
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.addresses import (
    METADATA_NETWORKS,
    REFUSED,
    AddressError,
    AllowList,
    AllowListError,
    UrlError,
    check_url,
    is_forbidden,
    is_metadata,
    is_reachable,
    normalise_url,
    split_url,
)

CHARACTERS_MAX = 2_048

# Every host here spells an address that must not be fetched from.
HOSTILE_HOSTS = """
127.0.0.1 127.0.0.1. 127.1 127.0.1 127.255.255.254 2130706433 0x7f000001 0x7F000001 017700000001
0177.0.0.1 0177.0.0.01 0x7f.0.0.1 0x7f.1 0x7f.0x0.0x0.0x1 0177.1 127.0x1 127.0.0.0x1 00177.0.0.1
0 0.0.0.0 0x0 0x 00 0.1 0.255.255.255 0x0.0x0 127。0。0。1 127．0．0．1 127｡0｡0｡1
10.0.0.1 10.1 10.255.255.255 167772161 0xa000001 012.0.0.1 0xA.1
172.16.0.1 172.31.255.254 0xac.0x10.0.1 2886729729
192.168.0.1 192.168.1 192.168.257 0xc0.0xa8.0.1 3232235521 0300.0250.0.1 030052000001
169.254.169.254 2852039166 0xa9fea9fe 0xA9.0xFE.0xA9.0xFE 0251.0376.0251.0376 169.254.43518
169.16689662 169.254.0.1 169.254.170.2 100.64.0.1 100.100.100.200 100.127.255.255 168.63.129.16
192.0.0.1 192.0.0.192 192.0.2.1 192.31.196.1 192.52.193.1 192.88.99.1 192.175.48.1 198.18.0.1
198.19.255.255 198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255
4294967295 0xffffffff 037777777777
[::] [::1] [0:0:0:0:0:0:0:1] [0000::0001] [::127.0.0.1] [::7f00:1] [::8.8.8.8]
[::ffff:127.0.0.1] [::FFFF:7F00:1] [0:0:0:0:0:ffff:7f00:0001] [::ffff:10.0.0.1] [::ffff:0:7f00:1]
[::ffff:169.254.169.254] [::ffff:a9fe:a9fe] [::ffff:0.0.0.0] [::ffff:192.168.0.1]
[64:ff9b::127.0.0.1] [64:ff9b::7f00:1] [64:ff9b::8.8.8.8] [64:ff9b:1::7f00:1] [64:ff9b:1:ffff::1]
[100::1] [2001::1] [2001:0:4136:e378:8000:63bf:3fff:fdd2] [2001:2::1] [2001:10::1] [2001:20::1]
[2001:db8::1] [2002:7f00:1::] [2002:a9fe:a9fe::1] [2002:808:808::1] [2620:4f:8000::1] [3ffe::1]
[3fff::1] [4000::1] [5f00::1] [fc00::1] [fd00::1] [fd00:ec2::254] [fd20:ce::254] [fe80::1]
[fe80::1%eth0] [fe80::1%25eth0] [::1%25lo] [2606:4700::1111%25eth0] [fec0::1] [ff02::1] [ff0e::1]
[2606:4700::5efe:7f00:1] [2606:4700::200:5efe:10.0.0.1]
metadata metadata.google.internal Metadata.Google.Internal. metadata.goog instance-data
"""

PUBLIC_HOSTS = """
example.com EXAMPLE.com example.com. sub.domain.example.co.uk my_host.example.com a-b.example
bücher.example xn--bcher-kva.example 1password.example 123.example 0x7f.example 8.8.8.8 1.1.1.1
134744072 0x8080808 010.010.010.010 8.526344 93.184.215.14 100.63.255.255 100.128.0.1 172.15.0.1
172.32.0.1 169.253.1.1 192.0.1.1 198.17.0.1 198.20.0.1 223.255.255.254 126.255.255.255 11.0.0.1
[2606:4700:4700::1111] [2001:4860:4860::8888] [2A00:1450:4001:80b::200e] [2001:200::1]
[::ffff:8.8.8.8] localhost.example metadata.example notmetadata
"""

MALFORMED_URLS = [
    "",
    "example.com",
    "/relative",
    "//example.com/",
    "http:example.com",
    "http:/example.com",
    "http://",
    "http:///path",
    "http://?query",
    "http://#fragment",
    "http://:80/",
    "http://.",
    "http://.example.com/",
    "http://a..example/",
    "ftp://example.com/",
    "file:///etc/passwd",
    "gopher://example.com/",
    "javascript:alert(1)",
    "data:text/plain,hello",
    "httpx://example.com/",
    "http://user@example.com/",
    "http://user:password@example.com/",
    "http://@example.com/",
    "http://example.com@127.0.0.1/",
    "http://127.0.0.1\\@example.com/",
    "http://example.com\\path",
    " http://example.com/",
    "http://example.com/ ",
    "http://exa mple.com/",
    "http://example.com/a b",
    "http://example.com/\n",
    "http://example.com/\r\nHost: evil",
    "http://exam\tple.com/",
    "http://example.com/\x00",
    "http://example.com/\x7f",
    "http://example.com/\u2028",
    "http://example.com/\ud800",
    "http://example.com:0/",
    "http://example.com:65536/",
    "http://example.com:999999/",
    "http://example.com:-1/",
    "http://example.com:8a/",
    "http://example.com:８０/",
    "http://example.com:80:80/",
    "http://[::1]:80:80/",
    "http://[::1]example.com/",
    "http://[::1/",
    "http://::1/",
    "http://[]/",
    "http://[example.com]/",
    "http://[v1.x]/",
    "http://[127.0.0.1]/",
    "http://256.1.1.1/",
    "http://1.2.3.4.5/",
    "http://08.1.1.1/",
    "http://4294967296/",
    "http://example.1/",
    "http://%31%32%37.0.0.1/",
    "http://example%2ecom/",
    "http://127.0.0.1%00.example.com/",
    "http://exa<mple.com/",
    "http://exa*mple.com/",
    "http://" + "a" * 64 + ".example/",
    "http://" + "a." * 130 + "example/",
    "http://\u200b.example/",
    "http://１２７.0.0.1/",
    "http://⑫⑦.0.0.1/",
    "http://xn--\u00e9.example/",
]


def check(url: str, *, allow: tuple[str, ...] = ()) -> str:
    return check_url(url, characters_max=CHARACTERS_MAX, allow_list=AllowList.parse(allow))


@pytest.mark.parametrize("host", HOSTILE_HOSTS.split())
def test_a_forbidden_address_is_refused_in_every_spelling(host: str) -> None:
    for url in (f"http://{host}/", f"https://{host}:8443/a?b#c", f"HTTP://{host}"):
        with pytest.raises(AddressError, match=REFUSED):
            check(url)


def test_the_table_of_hostile_spellings_is_long_enough_to_mean_something() -> None:
    hosts = HOSTILE_HOSTS.split()
    assert len(set(hosts)) == len(hosts) >= 80


@pytest.mark.parametrize("host", PUBLIC_HOSTS.split())
def test_a_public_host_passes(host: str) -> None:
    for url in (f"http://{host}/", f"https://{host}:8443/a?b#c", f"HTTP://{host}"):
        assert check(url) == normalise_url(url)


@pytest.mark.parametrize("url", MALFORMED_URLS)
def test_a_malformed_url_is_refused_with_an_issue_that_is_not_about_addresses(url: str) -> None:
    with pytest.raises(UrlError, match=r"^must ") as caught:
        check(url)
    assert not isinstance(caught.value, AddressError)


def test_a_url_may_be_as_long_as_the_limit_and_no_longer() -> None:
    url = "http://example.com/"
    assert check_url(url, characters_max=len(url)) == url
    with pytest.raises(UrlError, match="at most 18 characters"):
        check_url(url, characters_max=len(url) - 1)


def test_text_of_any_script_may_stand_in_path_and_query() -> None:
    assert check("https://example.com/köln/新聞?q=ab\u200cc") is not None


def test_a_literal_address_passes_where_the_allow_list_names_it() -> None:
    assert check("http://127.0.0.1:8123/", allow=("127.0.0.1:8123",))
    assert check("http://0x7f.1:8123/", allow=("127.0.0.1:8123",))
    assert check("http://[::ffff:127.0.0.1]:8123/", allow=("127.0.0.1:8123",))
    assert check("http://10.1.2.3/", allow=("10.0.0.0/8",))
    assert check("http://[fd12::1]:9000/", allow=("[fd12::1]:9000",))
    assert check("http://[fd12::1]:9000/", allow=("fd12::/16",))


def test_a_literal_address_on_a_port_that_the_list_does_not_name_is_refused() -> None:
    for allow in (("127.0.0.1:8123",), ("10.0.0.0/8",), ("localhost:8124",), ("[::1]:8124",)):
        with pytest.raises(AddressError):
            check("http://127.0.0.1:8124/", allow=allow)


@pytest.mark.parametrize(
    ("given_url", "normal"),
    [
        ("HTTP://Example.COM/Path?Q=A#top", "http://example.com/Path?Q=A"),
        ("http://example.com:80/", "http://example.com/"),
        ("https://example.com:443", "https://example.com"),
        ("https://example.com:80/", "https://example.com:80/"),
        ("http://example.com:/x", "http://example.com/x"),
        ("http://[2001:DB8::1]:80/x", "http://[2001:db8::1]/x"),
        ("http://[2001:DB8::80]/x", "http://[2001:db8::80]/x"),
        ("http://example.com?A#B?c", "http://example.com?A"),
        ("http://example.com/?", "http://example.com/?"),
        ("not a url#x", "not a url"),
    ],
)
def test_urls_are_compared_without_case_of_the_host_default_port_and_fragment(
    given_url: str, normal: str
) -> None:
    assert normalise_url(given_url) == normal


@given(st.text(st.sampled_from(string.ascii_letters + string.digits + ":/?#[]@.%éİß"), max_size=40))
def test_normalising_twice_changes_nothing_more(tail: str) -> None:
    once = normalise_url("hTTp://" + tail)
    assert normalise_url(once) == once


@given(st.text(max_size=30) | st.text(st.sampled_from("[]:%0123456789abcdefx.@/-"), max_size=30))
def test_any_text_after_the_scheme_either_passes_or_is_refused_with_an_issue(tail: str) -> None:
    issue = ""
    try:
        check("http://" + tail)
    except UrlError as error:
        issue = str(error)
    assert issue == "" or issue == REFUSED or issue.startswith("must ")


@given(st.ip_addresses(v=4), st.sampled_from(range(6)))
def test_every_spelling_of_an_ipv4_address_is_read_as_that_address(
    address: IPv4Address, form: int
) -> None:
    value, parts = int(address), str(address).split(".")
    spelling = (
        str(value),
        hex(value),
        f"0{value:o}",
        ".".join(hex(int(part)) for part in parts),
        ".".join(f"0{int(part):o}" for part in parts),
        f"{parts[0]}.{value & 0xFFFFFF}",
    )[form]
    assert split_url(f"http://{spelling}/").address == address


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_judged_the_same_when_mapped_into_ipv6(address: IPv4Address) -> None:
    mapped = IPv6Address(f"::ffff:{address}")
    assert is_forbidden(mapped) == is_forbidden(address)
    assert is_metadata(mapped) == is_metadata(address)


@given(st.ip_addresses())
def test_nothing_that_python_calls_private_or_reserved_is_let_through(
    address: IPv4Address | IPv6Address,
) -> None:
    plain = getattr(address, "ipv4_mapped", None) or address
    if not plain.is_global or plain.is_multicast or plain.is_reserved:
        assert is_forbidden(address)


@pytest.mark.parametrize("network", METADATA_NETWORKS, ids=str)
def test_a_metadata_service_is_never_reached_even_when_the_list_names_it(network: object) -> None:
    address = ip_network(str(network))[-1]
    bracketed = f"[{address}]" if address.version == 6 else str(address)
    allow = ("0.0.0.0/0", "::/0", str(network), f"{bracketed}:80")
    assert not is_reachable(address, port=80, host=str(address), allow_list=AllowList.parse(allow))
    with pytest.raises(AddressError):
        check(f"http://{bracketed}/", allow=allow)


@pytest.mark.parametrize(
    "text",
    [
        "::ffff:169.254.169.254",
        "::169.254.169.254",
        "64:ff9b::169.254.169.254",
        "fd77:64::169.254.169.254",
        "2002:a9fe:a9fe::1",
        "2001:0:4136:e378:8000:63bf:5601:5601",
        "fd00:ec2::254%eth0",
    ],
)
def test_a_metadata_service_is_never_reached_through_a_tunnel_that_the_list_opens(
    text: str,
) -> None:
    allow_list = AllowList.parse(("0.0.0.0/0", "::/0"))
    assert not is_reachable(ip_address(text), port=80, host="a.example", allow_list=allow_list)


def test_a_metadata_name_is_never_reached_whatever_it_resolves_to() -> None:
    allow_list = AllowList.parse(("0.0.0.0/0", "metadata.google.internal:80"))
    for host in ("metadata.google.internal", "METADATA.google.internal."):
        assert not is_reachable(ip_address("8.8.8.8"), port=80, host=host, allow_list=allow_list)


def test_a_name_in_the_list_opens_its_own_addresses_on_its_own_port_only() -> None:
    allow_list = AllowList.parse(("Wiki.Internal:8080",))
    address = ip_address("10.0.0.7")
    reach = {
        (host, port): is_reachable(address, port=port, host=host, allow_list=allow_list)
        for host in ("wiki.internal", "WIKI.internal.", "other.internal")
        for port in (8080, 8081)
    }
    assert [key for key, value in reach.items() if value] == [
        ("wiki.internal", 8080),
        ("WIKI.internal.", 8080),
    ]


@pytest.mark.parametrize(
    "entry", ["", "wiki.internal", "10.0.0.1/8", "10.0.0.0/33", "a b:80", "a:0", "a:65536", "a:b"]
)
def test_an_entry_that_is_neither_network_nor_endpoint_is_refused_by_name(entry: str) -> None:
    with pytest.raises(AllowListError, match="'"):
        AllowList.parse((entry,))
