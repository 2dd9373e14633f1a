"""What is set apart from a layer: nothing but rounding changes, and nothing loud is left."""

import math

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.embedding.loud import LOUD_WEIGHT, SHARE, Beside, set_apart

Floats = npt.NDArray[np.float32]
WIDTH, NEURONS = 6, 9
AT = "encoder.layer.0."


def gelu(x: Floats) -> Floats:
    erf = np.vectorize(math.erf, otypes=[np.float32])
    return np.asarray(x * 0.5 * (1 + erf(x / np.sqrt(2))), np.float32)


def layer(seed: int, *, loud: dict[int, int]) -> dict[str, Floats]:
    """One layer of random weights; `loud` neurons write their channel with a great weight."""
    random = np.random.default_rng(seed)
    shapes = {
        f"{AT}attention.output.LayerNorm.weight": (WIDTH,),
        f"{AT}attention.output.LayerNorm.bias": (WIDTH,),
        f"{AT}attention.output.dense.weight": (WIDTH, WIDTH),
        f"{AT}intermediate.dense.weight": (NEURONS, WIDTH),
        f"{AT}intermediate.dense.bias": (NEURONS,),
        f"{AT}output.dense.weight": (WIDTH, NEURONS),
        f"{AT}output.dense.bias": (WIDTH,),
    }
    made = {name: random.normal(0, 0.3, shape).astype(np.float32) for name, shape in shapes.items()}
    for neuron, channel in loud.items():
        made[f"{AT}output.dense.weight"][channel, neuron] = 2 * LOUD_WEIGHT
    return made


def said(tensors: dict[str, Floats], normed: Floats, beside: Beside | None) -> Floats:
    """What a layer makes of normalised rows: the feed-forward part, and what it passes on."""
    x = normed * tensors[f"{AT}attention.output.LayerNorm.weight"]
    x = x + tensors[f"{AT}attention.output.LayerNorm.bias"]
    inner = tensors[f"{AT}intermediate.dense.weight"].T
    active = gelu(x @ inner + tensors[f"{AT}intermediate.dense.bias"])
    outer = tensors[f"{AT}output.dense.weight"].T
    total = active @ outer + tensors[f"{AT}output.dense.bias"] + x
    if beside is not None:
        total = total + gelu(x @ beside.inner + beside.bias) @ beside.outer
    return np.asarray(total, np.float32)


@settings(max_examples=50)
@given(
    seed=st.integers(0, 2**32 - 1),
    loud=st.dictionaries(st.integers(0, NEURONS - 1), st.integers(0, WIDTH - 1), max_size=3),
)
def test_together_they_say_what_the_layer_said(seed: int, loud: dict[int, int]) -> None:
    tensors = layer(seed, loud=loud)
    quiet, beside = set_apart(tensors)
    normed = np.random.default_rng(seed).normal(0, 1, (5, WIDTH)).astype(np.float32)
    before, after = said(tensors, normed, None), said(quiet, normed, beside.get(AT))
    np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-4)
    assert bool(beside) == bool(loud)


def test_what_is_loud_is_out_of_the_layer_and_its_channel_is_divided() -> None:
    tensors = layer(7, loud={4: 2})
    quiet, beside = set_apart(tensors)
    assert not quiet[f"{AT}intermediate.dense.weight"][4].any()
    assert not quiet[f"{AT}output.dense.weight"][:, 4].any()
    norm = f"{AT}attention.output.LayerNorm.weight"
    assert math.isclose(quiet[norm][2] * SHARE, tensors[norm][2], rel_tol=1e-6)
    assert quiet[norm][3] == tensors[norm][3]
    assert beside[AT].inner.shape == (WIDTH, 3)  # the neuron, and two that pass on the rest
    assert beside[AT].outer.shape == (3, WIDTH)


def test_what_was_given_stays_as_it_was() -> None:
    tensors = layer(7, loud={4: 2})
    before = {name: values.copy() for name, values in tensors.items()}
    set_apart(tensors)
    for name, values in tensors.items():
        np.testing.assert_array_equal(values, before[name])
