"""Runs in a network namespace of its own: fetches every URL of the tables, tells who was reached.

Prints one JSON object. Started by test_hostile_addresses.py through unshare, never elsewhere: it
makes every address of the internet its own and puts its own name server under the resolver.
"""

import asyncio
import json
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from namespace_canary import Canary
from namespace_dns import NameServer
from namespace_urls import ALLOWED, CONTROLS, FORBIDDEN_ADDRESSES, HOSTILE, OPENED, STILL_SHUT

from engine.addresses import AllowList
from engine.config import Limits
from engine.errors import SourceError
from workers.fetch import Fetcher

BOUND = ("/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf")
LIMITS = Limits(fetch_timeout_s=3.0)


def settle(folder):
    """Every address becomes local, and names are asked of the loopback only."""
    for arguments in (
        ("link", "set", "lo", "up"),
        ("route", "add", "local", "0.0.0.0/0", "dev", "lo"),
        ("-6", "route", "add", "local", "::/0", "dev", "lo"),
    ):
        subprocess.run(["ip", *arguments], check=True)
    files = {
        "resolv.conf": "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n",
        "hosts": "127.0.0.1 localhost localhost.localdomain\n::1 localhost\n",
        "nsswitch.conf": "hosts: files dns\n",
    }
    for name, text in files.items():
        path = folder / name
        path.write_text(text)
        subprocess.run(["mount", "--bind", str(path), f"/etc/{name}"], check=True)


async def fetched(fetcher, url, *, folder, canary):
    """How fetching ended, and which addresses were reached for it."""
    try:
        found = await fetcher.fetch_url(url, folder=folder)
        found.path.unlink()
        outcome = "ready"
    except SourceError as error:
        outcome = error.code
    return {"outcome": outcome, "reached": canary.taken()}


async def told(fetcher, urls, *, folder, canary):
    return {url: await fetched(fetcher, url, folder=folder, canary=canary) for url in urls}


def answering(canary):
    """Which of the forbidden addresses a plain connection reaches, with no guard before it."""
    found = []
    for address in FORBIDDEN_ADDRESSES:
        with socket.create_connection((address, 80), timeout=3) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
            if connection.recv(100).startswith(b"HTTP/1.1 200"):
                found.append(address)
    assert len(canary.taken()) == len(found)
    return found


async def report(folder):
    with Canary() as canary, NameServer():
        shut = Fetcher(LIMITS, allow_list=AllowList())
        opened = Fetcher(LIMITS, allow_list=AllowList.parse(ALLOWED))
        more = {"folder": folder, "canary": canary}
        return {
            "answering": await asyncio.to_thread(answering, canary),
            "controls": await told(shut, CONTROLS, **more),
            "hostile": await told(shut, HOSTILE, **more),
            "opened": await told(opened, OPENED, **more),
            "still_shut": await told(opened, STILL_SHUT, **more),
        }


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settle(folder)
        spool = folder / "spool"
        spool.mkdir()
        result = asyncio.run(report(spool))
        assert list(spool.iterdir()) == []
        subprocess.run(["umount", *BOUND], check=True)
        json.dump(result, sys.stdout)


if __name__ == "__main__":
    main()
