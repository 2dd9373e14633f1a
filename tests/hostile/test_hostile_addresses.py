"""No URL leads inside: the real fetcher and resolver in a network namespace full of canaries.

In there every address of the internet is this machine, so that whatever the guard lets through
arrives at somebody who says so. The tables are namespace_urls.py.
"""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from namespace_urls import (
    CONTROLS,
    FORBIDDEN_ADDRESSES,
    HOSTILE,
    OPENED,
    OTHER_PUBLIC,
    PUBLIC_V4,
    STAYS,
    STILL_SHUT,
)

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
UNSHARE = ["unshare", "--net", "--mount"]
HOSTILE_MIN = 150
# A page that redirects, and the first answer of a name that changes its mind, may be reached.
HOPS = {PUBLIC_V4, OTHER_PUBLIC}
REFUSALS = {"fetch_refused_address", "fetch_rejected"}


@functools.cache
def why_not():
    """Why there can be no namespace here, "" when there can."""
    if not sys.platform.startswith("linux"):
        return "network namespaces are of Linux"
    try:
        probe = [*UNSHARE, "sh", "-c", "ip link set lo up && mount --bind /etc/hosts /etc/hosts"]
        done = subprocess.run(probe, check=False, capture_output=True, text=True)
    except OSError as error:
        return f"no network namespace: {error.strerror}"
    return f"no network namespace: {done.stderr.strip()[:200]}" if done.returncode else ""


@pytest.fixture(scope="module")
def told():
    """What namespace_inside tells."""
    if reason := why_not():
        pytest.skip(reason)
    paths = (str(REPOSITORY), str(HERE))
    done = subprocess.run(
        [*UNSHARE, sys.executable, str(HERE / "namespace_inside.py")],
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "http_proxy": "http://10.0.0.1"},
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr[-4_000:]
    return json.loads(done.stdout)


def test_there_are_enough_hostile_urls_and_none_twice():
    assert len(set(HOSTILE)) == len(HOSTILE) >= HOSTILE_MIN


def test_without_the_guard_every_canary_would_be_reached(told):
    assert told["answering"] == FORBIDDEN_ADDRESSES


def test_no_hostile_url_reaches_a_canary(told, measured):
    assert len(told["hostile"]) == len(HOSTILE)
    reached = {
        url: result["reached"]
        for url, result in told["hostile"].items()
        if set(result["reached"]) - HOPS
    }
    measured.append(f"canaries reached by {len(HOSTILE)} hostile URLs: {len(reached)}")
    assert reached == {}


def test_every_hostile_url_is_refused_or_stays_where_it_is(told):
    results = told["hostile"]
    arrived = {url: at["reached"] for url, at in results.items() if at["outcome"] == "ready"}
    assert arrived == STAYS
    assert {at["outcome"] for at in results.values()} == {"ready", *REFUSALS}


def test_every_allowed_control_is_reached_at_the_address_that_was_checked(told, measured):
    wanted = {url: {"outcome": "ready", "reached": at} for url, at in CONTROLS.items()}
    measured.append(
        f"allowed controls: {len(wanted)}, as they must be: {told['controls'] == wanted}"
    )
    assert told["controls"] == wanted


def test_the_allow_list_opens_what_it_names(told):
    wanted = {url: {"outcome": "ready", "reached": at} for url, at in OPENED.items()}
    assert told["opened"] == wanted


def test_the_allow_list_opens_nothing_beside_and_metadata_never(told):
    refused = {"outcome": "fetch_refused_address", "reached": []}
    assert told["still_shut"] == dict.fromkeys(STILL_SHUT, refused)
