"""A small DNS server for the namespace: names that lead inside, change their minds, or are fine."""

import socket
import struct
import threading
from collections import Counter
from ipaddress import ip_address

PUBLIC = "8.8.8.8"
LOOP = "127.0.0.1"

# Each has at least one address that must not be reached.
PRIVATE_ANSWERS = {
    "loopback.test": [LOOP],
    "private.test": ["10.0.0.1"],
    "zero.test": ["0.0.0.0"],
    "metadata.test": ["169.254.169.254"],
    "azure.test": ["168.63.129.16"],
    "oracle.test": ["192.0.0.192"],
    "carrier.test": ["100.64.0.1"],
    "class-e.test": ["240.0.0.1"],
    "loopback-v6.test": ["::1"],
    "mapped.test": ["::ffff:127.0.0.1"],
    "mapped-metadata.test": ["::ffff:169.254.169.254"],
    "compatible.test": ["::7f00:1"],
    "nat64.test": ["64:ff9b::7f00:1"],
    "6to4.test": ["2002:7f00:1::"],
    "teredo.test": ["2001:0:4136:e378:8000:63bf:3fff:fdd2"],
    "site-local.test": ["fec0::1"],
    "unique-local.test": ["fd00::1"],
    "link-local.test": ["fe80::1"],
    "isatap.test": ["2606:4700::5efe:7f00:1"],
    "public-first.test": [PUBLIC, LOOP],
    "private-first.test": ["10.0.0.1", PUBLIC],
    "public-and-private-v6.test": [PUBLIC, "fd00::1"],
    "many.test": [*(f"8.8.4.{number}" for number in range(1, 20)), "192.168.0.1"],
    "alias-to-loopback.test": "loopback.test",
    "alias-of-alias.test": "alias-to-loopback.test",
    "xn--bcher-kva.inside.test": ["10.0.0.1"],
    "127.0.0.1.wild.test": [LOOP],
    "under_score.test": [LOOP],
}
# The first answer is public, all later ones are not; the second list is the later one.
REBINDING = {
    "rebind-control.test": LOOP,
    "rebind-loopback.test": LOOP,
    "rebind-private.test": "10.0.0.1",
    "rebind-metadata.test": "169.254.169.254",
    "rebind-zero.test": "0.0.0.0",
}
FINE = {
    "public.test": [PUBLIC],
    "public-v6.test": ["2606:4700:4700::1111"],
    "alias.test": "public.test",
    "xn--bcher-kva.test": ["93.184.215.14"],
    "two.test": [PUBLIC, PUBLIC],
    "inside.test": ["10.9.9.9"],
}
ZONE = {**PRIVATE_ANSWERS, **FINE}
_KINDS = {1: 4, 28: 6}


class NameServer:
    """Answers on UDP port 53 of the loopback, for the time of the block."""

    def __init__(self):
        self.asked = Counter()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((LOOP, 53))
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._socket.sendto(b"", self._socket.getsockname())
        self._thread.join()
        self._socket.close()

    def _serve(self):
        while True:
            query, asker = self._socket.recvfrom(4_096)
            if not query:
                return
            self._socket.sendto(self._answer(query), asker)

    def _answer(self, query):
        name, end = _name(query, 12)
        kind = struct.unpack_from(">H", query, end)[0]
        question = query[12 : end + 4]
        records = list(self._records(name, kind=kind))
        missing = name not in ZONE and name not in REBINDING
        head = struct.pack(">HHHHH", 0x8183 if missing else 0x8180, 1, len(records), 0, 0)
        return query[:2] + head + question + b"".join(records)

    def _records(self, name, *, kind):
        found = ZONE.get(name, [])
        if isinstance(found, str):
            yield _record(name, kind=5, data=_wire(found))
            yield from self._records(found, kind=kind)
            return
        for text in self._rebound(name, kind=kind) or found:
            address = ip_address(text)
            if _KINDS.get(kind) == address.version:
                yield _record(name, kind=kind, data=address.packed)

    def _rebound(self, name, *, kind):
        if name not in REBINDING or kind != 1:
            return []
        self.asked[name] += 1
        return [PUBLIC] if self.asked[name] == 1 else [REBINDING[name]]


def _name(query, at):
    labels = []
    while length := query[at]:
        labels.append(query[at + 1 : at + 1 + length].decode("ascii").lower())
        at += 1 + length
    return ".".join(labels), at + 1


def _wire(name):
    return b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\0"


def _record(name, *, kind, data):
    return _wire(name) + struct.pack(">HHIH", kind, 1, 0, len(data)) + data
