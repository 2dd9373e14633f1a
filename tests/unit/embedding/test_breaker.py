"""The circuit breaker, on a clock of its own."""

import pytest

from engine.embedding.breaker import Breaker, Resting


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(failures_max=3, cooling_s=30, clock=clock)


def rests_for(breaker: Breaker) -> float:
    with pytest.raises(Resting) as resting:
        breaker.admit()
    return resting.value.wait_s


def test_it_opens_after_so_many_failures_in_a_row(breaker):
    for _ in range(2):
        assert breaker.admit() is False
        breaker.failed()
    breaker.succeeded()
    for _ in range(3):
        assert breaker.admit() is False
        breaker.failed()
    assert rests_for(breaker) == 30


def test_after_cooling_one_probe_goes_and_the_others_wait(breaker, clock):
    breaker.failed(at_once=True)
    clock.now_s += 29
    assert rests_for(breaker) == 1
    clock.now_s += 1
    assert breaker.admit() is True
    assert rests_for(breaker) == 1


def test_a_probe_that_succeeds_lets_all_go(breaker, clock):
    breaker.failed(at_once=True)
    clock.now_s += 30
    assert breaker.admit() is True
    breaker.succeeded()
    breaker.probed()
    assert breaker.admit() is False
    breaker.failed()
    assert breaker.admit() is False


def test_a_probe_that_fails_opens_it_again_at_once(breaker, clock):
    breaker.failed(at_once=True)
    clock.now_s += 30
    assert breaker.admit() is True
    breaker.failed()
    breaker.probed()
    assert rests_for(breaker) == 30


def test_a_probe_without_a_verdict_leaves_its_place_to_the_next_call(breaker, clock):
    breaker.failed(at_once=True)
    clock.now_s += 30
    assert breaker.admit() is True
    breaker.probed()
    assert breaker.admit() is True


def test_it_rests_for_as_long_as_it_is_told(breaker):
    breaker.failed(at_once=True, rest_s=7)
    assert rests_for(breaker) == 7


def test_a_call_that_fails_late_does_not_shorten_the_rest(breaker):
    breaker.failed(at_once=True, rest_s=300)
    breaker.failed()
    assert rests_for(breaker) == 300


def test_who_only_looks_learns_that_it_rests_and_takes_no_place(breaker, clock):
    breaker.look()
    breaker.failed(at_once=True)
    with pytest.raises(Resting):
        breaker.look()
    clock.now_s += 30
    breaker.look()
    assert breaker.admit() is True
    with pytest.raises(Resting):
        breaker.look()
