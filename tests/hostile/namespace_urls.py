"""URLs that must lead nowhere, and those that must arrive. Pure tables; run by namespace_inside.

Inside the namespace every address of the internet is this machine, and a canary listens on all.
"""

from urllib.parse import quote

from namespace_dns import PRIVATE_ANSWERS, REBINDING

PUBLIC_V4, PUBLIC_V6 = "8.8.8.8", "2606:4700:4700::1111"
OTHER_PUBLIC = "93.184.215.14"

# Every address here is canary ground: plain literals, as the kernel would connect to them.
_FORBIDDEN_ADDRESSES = """
127.0.0.1 127.255.255.254 10.0.0.1 10.255.255.254 172.16.0.1 172.31.255.254 192.168.0.1
192.168.255.254 169.254.0.1 169.254.169.254 169.254.170.2 169.254.42.42 169.254.0.23 100.64.0.1
100.100.100.200 100.127.255.254 168.63.129.16 192.0.0.1 192.0.0.192 192.0.2.1 192.31.196.1
192.52.193.1 192.88.99.1 192.175.48.1 198.18.0.1 198.19.255.254 198.51.100.1 203.0.113.1 240.0.0.1
0.0.0.0 ::1 :: ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 ::127.0.0.1 ::10.0.0.1
64:ff9b::7f00:1 64:ff9b::a9fe:a9fe 64:ff9b:1::a00:1 100::1 2001::1
2001:0:4136:e378:8000:63bf:3fff:fdd2 2001:2::1 2001:10::1 2001:20::1 2001:db8::1 2002:7f00:1::
2002:a9fe:a9fe::1 2002:c0a8:1::1 2620:4f:8000::1 3ffe::1 3fff::1 4000::1 5f00::1 8000::1 fc00::1
fd00::1 fd00:ec2::254 fd20:ce::254 fd00:42::42 fd00:c1::a9fe:a9fe fec0::1 feff::1
2606:4700::5efe:7f00:1 2606:4700::200:5efe:a00:1
"""
FORBIDDEN_ADDRESSES = _FORBIDDEN_ADDRESSES.split()

_NOTATIONS = """
127.1 127.0.1 2130706433 0x7f000001 0X7F.1 017700000001 0177.0.0.1 0x7f.0x0.0x0.0x1 127.0x1 0 0x0
00 0.1 10.1 167772161 0xa000001 012.0.0.1 0xA.1 172.1048577 2886729729 192.168.1 192.168.257
3232235521 0300.0250.0.1 169.16689662 2852039166 0xa9fea9fe 0251.0376.0251.0376 169.254.43518
127.0.0.1. 169.254.169.254. 2130706433. 127。0。0。1 169。254。169。254 １２７.0.0.1 ①②⑦.0.0.1
%31%32%37.0.0.1 127.0.0.1%2f 127.0.0.1%00 localhost LOCALHOST localhost. LocalHost.LocalDomain
metadata metadata.google.internal METADATA.GOOGLE.INTERNAL. metadata.goog instance-data
metadata.azure.internal metadata.tencentyun.com instance-data.ec2.internal
[0:0:0:0:0:0:0:1] [0000::0001] [::ffff:7f00:1] [::FFFF:A9FE:A9FE] [::ffff:0:7f00:1] [::1%25lo]
[fe80::1%25lo] [fe80::1%lo] [::127.0.0.1] [64:ff9b::127.0.0.1] [64:ff9b::169.254.169.254]
"""
NOTATIONS = _NOTATIONS.split()

_SHAPES = """
http://user@127.0.0.1/ http://8.8.8.8@127.0.0.1/ http://8.8.8.8:80@127.0.0.1:80/
http://127.0.0.1#@8.8.8.8/ http://127.0.0.1?@8.8.8.8/ http://8.8.8.8#@127.0.0.1:6379@x/
http://8.8.8.8\\@127.0.0.1/ http://127.0.0.1\\@8.8.8.8/ http:\\\\127.0.0.1/ http:127.0.0.1/
http:/127.0.0.1/ http:///127.0.0.1/ //127.0.0.1/ http://127.0.0.1:80:80/ http://[::1]:80:80/
http://127.0.0.1:0080/ http://127.0.0.1:6379/ http://127.0.0.1:8080/ https://127.0.0.1/
https://localhost:8443/ HTTP://127.0.0.1/ hTtP://LOCALHOST:8080/ http://127.0.0.1:/
ftp://127.0.0.1/ gopher://127.0.0.1:6379/_INFO dict://127.0.0.1:6379/ file:///etc/passwd
http://127.0.0.1:65616/ http://[::1]/ http://[::ffff:127.0.0.1]:8080/ http://[::]:8080/
"""
SHAPES = _SHAPES.split()


def literal(address, *, port=""):
    host = f"[{address}]" if ":" in address else address
    return f"http://{host}{port}/"


def hop(target, *, status=302, host=PUBLIC_V4):
    """A public page that redirects to the target."""
    return f"http://{host}/hop-{status}?{quote(target, safe='')}"


# Odd enough to be tried, but read rightly they lead nowhere else than to the public page.
STAYS = {
    "http://8.8.8.8#@127.0.0.1:6379@x/": [PUBLIC_V4],
    hop("http:127.0.0.1/", status=301): [PUBLIC_V4, PUBLIC_V4],
    hop("http:/127.0.0.1/", status=301): [PUBLIC_V4, PUBLIC_V4],
    hop("http:///127.0.0.1/", status=301): [PUBLIC_V4, PUBLIC_V4],
}
REBOUND = [f"http://{name}/hop-302?{quote(f'http://{name}/', safe='')}" for name in REBINDING]

HOSTILE = list(
    dict.fromkeys(
        [
            *(literal(address) for address in FORBIDDEN_ADDRESSES),
            *(f"http://{host}/" for host in NOTATIONS),
            *SHAPES,
            *(f"http://{name}/" for name in PRIVATE_ANSWERS),
            *(hop(literal(address)) for address in FORBIDDEN_ADDRESSES),
            *(hop(f"http://{name}/", status=307) for name in PRIVATE_ANSWERS),
            *(hop(url, status=301) for url in SHAPES if not url.startswith("http://8.8")),
            *(hop(hop(literal(address), host=OTHER_PUBLIC)) for address in FORBIDDEN_ADDRESSES[:9]),
            *REBOUND,
        ]
    )
)

# What must arrive, and at which addresses.
CONTROLS = {
    literal(PUBLIC_V4): [PUBLIC_V4],
    literal(PUBLIC_V4, port=":8080"): [PUBLIC_V4],
    literal(OTHER_PUBLIC): [OTHER_PUBLIC],
    literal(PUBLIC_V6): [PUBLIC_V6],
    literal("2001:4860:4860::8888", port=":8080"): ["2001:4860:4860::8888"],
    literal("::ffff:8.8.8.8"): [PUBLIC_V4],
    "http://134744072/": [PUBLIC_V4],
    "http://0x08.010.8.8/": [PUBLIC_V4],
    "http://8.8.8.8./": [PUBLIC_V4],
    "http://public.test/": [PUBLIC_V4],
    "http://PUBLIC.test.:8080/": [PUBLIC_V4],
    "http://public-v6.test/": [PUBLIC_V6],
    "http://alias.test/": [PUBLIC_V4],
    "http://bücher.test/": [OTHER_PUBLIC],
    "http://two.test/": [PUBLIC_V4],
    "http://172.32.0.1/": ["172.32.0.1"],
    "http://100.128.0.1/": ["100.128.0.1"],
    "http://11.0.0.1/": ["11.0.0.1"],
    "http://223.255.255.254/": ["223.255.255.254"],
    hop(literal(OTHER_PUBLIC)): [PUBLIC_V4, OTHER_PUBLIC],
    hop("http://public-v6.test/", status=308): [PUBLIC_V4, PUBLIC_V6],
    # Resolved once: what the second answer says has nothing to change.
    f"http://{next(iter(REBINDING))}/": [PUBLIC_V4],
}
# With the list of allowed networks that namespace_inside gives to its second fetcher.
ALLOWED = ("10.1.0.0/16", "192.168.7.7:8080", "inside.test:80", "[fd00::7]:80", "169.254.0.0/16")
OPENED = {
    "http://10.1.2.3/": ["10.1.2.3"],
    "http://192.168.7.7:8080/": ["192.168.7.7"],
    "http://inside.test/": ["10.9.9.9"],
    "http://[fd00::7]/": ["fd00::7"],
    "http://[::ffff:10.1.2.3]/": ["10.1.2.3"],
    hop("http://10.1.2.3/"): [PUBLIC_V4, "10.1.2.3"],
}
# What the list opens beside these stays shut, metadata above all.
_STILL_SHUT = """
http://10.2.0.1/ http://192.168.7.7/ http://192.168.7.8:8080/ http://inside.test:8080/
http://10.9.9.9/ http://[fd00::8]/ http://169.254.169.254/ http://[::ffff:169.254.169.254]/
http://169.254.42.42/ http://169.254.170.2/ http://metadata.google.internal/ http://127.0.0.1/
"""
STILL_SHUT = _STILL_SHUT.split()
