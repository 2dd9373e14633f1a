"""The soak's judgement of memory: a leak is seen, and what comes and goes is not one."""

import os
import random
from collections.abc import Callable

from fix_scale import NOISE_MIB, Weights, anonymous_mib

HOUR_S = 3600


def weights(of: Callable[[int], float], *, lasted_s: int = HOUR_S) -> Weights:
    """A curve with documents of up to 300 MiB on top of `of`."""
    dice = random.Random(7)
    made = Weights()
    for at_s in range(lasted_s):
        made.add(at_s, of(at_s) + dice.choice((0, 0, 3, 40, 300)))
    return made


def test_a_leak_of_a_hundred_mebibytes_an_hour_is_seen_under_documents_that_come_and_go() -> None:
    grown, allowed = weights(lambda at_s: 200 + 100 * at_s / HOUR_S).growth()
    assert grown > allowed
    assert abs(grown - 50) < 2


def test_peaks_and_a_growth_that_ended_in_the_first_half_are_none() -> None:
    grown, allowed = weights(lambda at_s: 200 + min(at_s, HOUR_S / 2) / 10).growth()
    assert abs(grown) < 1 < allowed


def test_ten_minutes_are_allowed_little_more_than_their_noise() -> None:
    _, allowed = weights(lambda _: 200, lasted_s=600).growth()
    assert NOISE_MIB < allowed < NOISE_MIB + 1


def test_a_living_process_has_a_weight_and_one_that_is_gone_has_none() -> None:
    assert anonymous_mib(os.getpid()) > 5
    assert anonymous_mib(2**22 + 1) == 0
