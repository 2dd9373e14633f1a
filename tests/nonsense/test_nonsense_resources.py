"""Random lives of two customers, the same in every run; NONSENSE=all lives longer."""

import pytest
from fix_served import LONG, SEED, Served
from hypothesis import HealthCheck, Phase, settings
from hypothesis import seed as seeded
from hypothesis.stateful import run_state_machine_as_test
from resources_machine import ResourcesMachine

LIVES, STEPS = (30, 60) if LONG else (6, 40)


@pytest.mark.timeout(3_000 if LONG else 120)
def test_customers_see_what_they_made_and_nothing_else(served: Served, measured: list[str]) -> None:
    class Machine(ResourcesMachine):
        pass

    Machine.served = served
    bounded = settings(
        max_examples=LIVES,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        derandomize=SEED == 0,
        phases=(Phase.generate, Phase.shrink) if LONG else (Phase.generate,),
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    run = seeded(SEED)(run_state_machine_as_test) if SEED else run_state_machine_as_test
    run(Machine, settings=bounded)
    assert served.accidents() == []
    measured.append(f"state machine: {LIVES} lives of up to {STEPS} steps")
