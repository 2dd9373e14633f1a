"""Edges of the address rules, where one step to either side would let something else through."""

from ipaddress import ip_address

import pytest

from engine.addresses import (
    NOTHING_ALLOWED,
    AddressError,
    AllowList,
    AllowListError,
    UrlError,
    check_url,
    is_forbidden,
    is_metadata,
    is_reachable,
    literal_address,
    split_url,
)


def issue_of(url: str) -> str:
    with pytest.raises(UrlError) as caught:
        check_url(url, characters_max=2_048)
    assert not isinstance(caught.value, AddressError)
    return str(caught.value)


@pytest.mark.parametrize(
    ("url", "issue"),
    [
        ("http://user@example.com/", "user name"),
        ("http://:80/", "must have a host"),
        ("http:///path", "must have a host"),
        ("http://example.com/a\\b", "backslashes"),
        ("http://example.com:0/", "port"),
        ("http://example.com:65536/", "port"),
        ("http://1.2.3.4.0/", "valid address"),
        ("http://1.2.3.256/", "valid address"),
        ("http://1.2.65536/", "valid address"),
        ("http://1.16777216/", "valid address"),
        ("http://1_0.0.0.1/", "valid address"),
        ("http://0x1_0.0.0.1/", "valid address"),
        ("http://" + ".".join(["a" * 63] * 3 + ["b" * 62]) + "/", "host name"),
        ("http://" + "a" * 64 + ".example/", "host name"),
    ],
)
def test_what_is_one_step_too_far_is_refused_with_its_own_issue(url: str, issue: str) -> None:
    assert issue in issue_of(url)


@pytest.mark.parametrize("port", [1, 65_535])
def test_the_first_and_the_last_port_may_be_named(port: int) -> None:
    assert split_url(f"http://example.com:{port}/").port == port


def test_a_name_may_be_as_long_as_a_name_can_be() -> None:
    name = ".".join(["a" * 63] * 3 + ["b" * 61])
    assert len(name) == 253
    assert split_url(f"http://{name}/").host == name


@pytest.mark.parametrize(
    ("spelled", "address"),
    [("1.2.65535", "1.2.255.255"), ("1.16777215", "1.255.255.255"), ("1.2.3.255", "1.2.3.255")],
)
def test_the_last_number_of_an_address_fills_the_bytes_that_are_left(
    spelled: str, address: str
) -> None:
    assert literal_address(spelled) == ip_address(address)


@pytest.mark.parametrize("host", ["١٢٧.0.0.1", "+127.0.0.1", "-1.0.0.1", "1_0.0.0.1", "0x.0x_1.1"])
def test_only_plain_digits_are_numbers_of_an_address(host: str) -> None:
    with pytest.raises(UrlError, match="valid address"):
        literal_address(host)


def test_a_metadata_service_behind_a_public_translator_is_not_reached() -> None:
    """NAT64 under an operator's own prefix: the address itself looks public."""
    address = ip_address("2606:4700::a9fe:a9fe")
    assert not is_forbidden(address)
    assert not is_reachable(address, port=80, host="a.example", allow_list=NOTHING_ALLOWED)


@pytest.mark.parametrize(
    ("text", "forbidden"),
    [
        ("2606:4700::5efe:808:808", True),
        ("2606:4700::200:5efe:808:808", True),
        ("2606:4700::5eff:808:808", False),
        ("2606:4700::5efd:808:808", False),
        ("2606:4700::201:5efe:808:808", False),
        ("2606:4700:0:1:1:5efe:808:808", False),
    ],
)
def test_tunnels_by_interface_identifier_are_known_by_all_of_its_bits(
    text: str, forbidden: bool
) -> None:
    assert is_forbidden(ip_address(text)) is forbidden


@pytest.mark.parametrize("service", ["169.254.0.23", "169.254.169.254", "168.63.129.16"])
def test_a_metadata_service_is_known_by_every_bit_of_its_address(service: str) -> None:
    address = ip_address(service)
    translated = ip_address(int(ip_address("2606:4700::")) + int(address))
    assert is_metadata(translated)
    assert not is_metadata(ip_address(int(ip_address("2606:4700::")) + (8 << 24)))


@pytest.mark.parametrize(
    ("text", "host"),
    [("169.254.169.254", "a.example"), ("8.8.8.8", "metadata.google.internal")],
)
def test_the_allow_list_itself_never_names_a_metadata_service(text: str, host: str) -> None:
    allow_list = AllowList.parse(("0.0.0.0/0",))
    assert not allow_list.is_allowed(ip_address(text), port=80, host=host)
    assert allow_list.is_allowed(ip_address("8.8.8.8"), port=80, host="a.example")


@pytest.mark.parametrize(
    ("entry", "endpoint"),
    [
        ("wiki:1", ("wiki", 1)),
        ("wiki:65535", ("wiki", 65_535)),
        ("0x7f.1:80", ("127.0.0.1", 80)),
        ("[::ffff:10.0.0.1]:80", ("10.0.0.1", 80)),
        ("[FD12:0::1]:80", ("fd12::1", 80)),
    ],
)
def test_an_endpoint_is_kept_in_the_spelling_that_is_compared(
    entry: str, endpoint: tuple[str, int]
) -> None:
    assert AllowList.parse((entry,)).endpoints == frozenset({endpoint})


@pytest.mark.parametrize(
    ("entry", "issue"),
    [
        (":80", "neither a network"),
        ("wiki:", "neither a network"),
        ("wiki:0", "neither a network"),
        ("wiki:65536", "neither a network"),
        ("a..b:80", "'a..b' is not a host"),
        ("256.1:80", "'256.1' is not a host"),
    ],
)
def test_an_entry_that_is_no_endpoint_is_refused_by_what_is_wrong_with_it(
    entry: str, issue: str
) -> None:
    with pytest.raises(AllowListError, match=issue):
        AllowList.parse((entry,))
