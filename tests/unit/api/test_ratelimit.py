import pytest

from engine.api.ratelimit import address_of, headers_of
from engine.buckets import Allowance


@pytest.mark.parametrize(
    ("client", "address"),
    [
        (("192.0.2.7", 4711), "192.0.2.7"),
        (("::ffff:192.0.2.7", 1), "192.0.2.7"),
        (("2001:db8:1:2:3:4:5:6", 1), "2001:db8:1:2::"),
        (("2001:db8:1:2::9", 1), "2001:db8:1:2::"),
        (("2001:db8:1:3::9", 1), "2001:db8:1:3::"),
        (("fe80::1%eth0", 1), "fe80::"),
        (("testclient", 1), "unknown"),
        (("", 0), "unknown"),
        ((), "unknown"),
        (None, "unknown"),
    ],
)
def test_an_address_is_counted_by_its_network(client, address):
    assert address_of(client) == address


def test_a_request_is_told_what_is_left_of_its_customers_rate():
    left = Allowance(burst=20, remaining=7, wait_s=0, full_s=1.3)
    assert headers_of(left) == [
        (b"ratelimit-limit", b"20"),
        (b"ratelimit-remaining", b"7"),
        (b"ratelimit-reset", b"2"),
    ]
