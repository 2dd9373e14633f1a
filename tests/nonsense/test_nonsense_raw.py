"""Requests written by hand, each with the answer it must get, and what the process is like behind
them.
"""

import nonsense_forms
import nonsense_framing
import nonsense_json
import nonsense_targets
import pytest
from fix_engine import Caller
from fix_served import LONG, Home, Served
from nonsense_case import NO_ANSWER, Case
from raw_wire import exchange, expect_plain

RSS_MIB_MAX = 600
CASES_MIN = 200
FAMILIES = {
    "json": nonsense_json.cases(),
    "forms": nonsense_forms.cases(),
    "targets": nonsense_targets.cases(),
    "framing": nonsense_framing.cases(),
}


def wrong(case: Case, *, served: Served, home: Home) -> str:
    """What is wrong with the answer to a case, "" if nothing is."""
    pieces = tuple(map(home.filled, case.pieces))
    answer = exchange(served.where, pieces, finish=case.finish)
    if answer is None:
        return "" if NO_ANSWER in case.codes else "there was no answer"
    try:
        expect_plain(answer, path=case.path, to_head=case.pieces[0].startswith(b"HEAD "))
    except (AssertionError, ValueError) as error:
        return f"{answer.code}: {error}"[:1_500]
    if answer.code in case.codes:
        return ""
    return f"{answer.code} instead of {sorted(case.codes)}: {answer.body[:300]!r}"


@pytest.mark.parametrize("family", FAMILIES)
def test_nonsense_gets_the_answer_it_must_have(
    served: Served, home: Home, measured: list[str], family: str
) -> None:
    # A short run sends every second one, but for framing, where hardly two are alike.
    cases = FAMILIES[family][:: 1 if LONG or family == "framing" else 2]
    found = {case.name: wrong(case, served=served, home=home) for case in cases}
    assert len(found) == len(cases), "two cases have one name"
    measured.append(f"raw HTTP: {family}: {len(cases)} cases, RSS {served.rss_mib():.0f} MiB")
    told = "\n".join(f"{name}: {told}" for name, told in found.items() if told)
    assert not told, told


def test_there_are_enough_cases() -> None:
    assert min(map(len, FAMILIES.values())) > CASES_MIN / 4
    assert sum(map(len, FAMILIES.values())) > CASES_MIN


def test_behind_all_of_it_the_process_is_small_and_nothing_was_unforeseen(
    served: Served, home: Home, measured: list[str]
) -> None:
    measured.append(f"raw HTTP: RSS at most {served.rss_peak_mib():.0f} MiB")
    assert served.rss_peak_mib() < RSS_MIB_MAX
    assert served.accidents() == []
    with Caller(served.base_url, token=home.token) as caller:
        assert caller.ok("GET", f"/rags/{home.ids['RAG']}")["id"] == home.ids["RAG"]
