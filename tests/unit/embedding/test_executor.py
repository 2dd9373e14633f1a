import asyncio
import threading

import numpy as np
import pytest

from engine.embedding.executor import ROUND_CHARACTERS, LocalEmbedder

pytestmark = pytest.mark.anyio


async def test_the_loop_runs_on_while_texts_are_embedded(embedder):
    served = LocalEmbedder(embedder)
    work = asyncio.create_task(served.embed(["a passage of some words " * 20] * 64))
    turns = 0
    while not work.done():
        await asyncio.sleep(0.005)
        turns += 1
    served.close()
    assert work.result().shape == (64, 384)
    assert turns > 5


async def test_answers_are_those_of_the_embedder(embedder):
    served = LocalEmbedder(embedder)
    await served.warm_up()
    vectors, question = await asyncio.gather(served.embed(["text"]), served.embed_query("text"))
    served.close()
    np.testing.assert_allclose(vectors[0], question, atol=1e-6)
    np.testing.assert_allclose(vectors, embedder.embed(["text"]), atol=1e-6)


class Held:
    """An embedder that waits for leave, and remembers what it was asked together."""

    spec = tokenizer = None

    def __init__(self):
        self.leave = threading.Event()
        self.rounds = []

    def embed(self, texts):
        self.leave.wait(timeout=10)
        self.rounds.append(list(texts))
        if "bad" in texts:
            raise ValueError("bad")
        return np.array([[float(text.partition(" ")[0])] for text in texts], dtype=np.float32)


async def asked(served, *calls):
    """One call under way, and `calls` behind it: what each of these came to."""
    first = asyncio.create_task(served.embed(["0"]))
    while served._asked or not served._together:
        await asyncio.sleep(0.001)
    tasks = [asyncio.create_task(served.embed(call)) for call in calls]
    await asyncio.sleep(0)
    served.embedder.leave.set()
    found = await asyncio.gather(first, *tasks, return_exceptions=True)
    return found[1:]


@pytest.fixture
def held():
    served = LocalEmbedder(Held())
    yield served
    served.embedder.leave.set()
    served.close()


async def test_callers_who_wait_are_served_together_and_get_their_own(held):
    found = await asked(held, ["1", "2"], [], ["3"], ["4", "5", "6"])
    assert [vectors.ravel().tolist() for vectors in found] == [[1, 2], [], [3], [4, 5, 6]]
    assert held.embedder.rounds == [["0"], ["1", "2", "3", "4", "5", "6"]]


async def test_a_round_is_bounded_and_keeps_the_order_of_the_callers(held):
    half = "1 " + "x" * (ROUND_CHARACTERS // 2)
    found = await asked(held, [half], ["2"], [half, half, half], ["3"])
    assert [vectors.ravel().tolist() for vectors in found] == [[1], [2], [1, 1, 1], [3]]
    assert [len(texts) for texts in held.embedder.rounds] == [1, 2, 3, 1]


async def test_an_error_is_told_to_its_cause_alone(held):
    found = await asked(held, ["1"], ["2", "bad"], ["3"])
    assert [type(each) for each in found] == [np.ndarray, ValueError, np.ndarray]
    assert found[2].ravel().tolist() == [3]


async def test_a_caller_that_gave_up_is_not_computed_for(held):
    first = asyncio.create_task(held.embed(["0"]))
    while held._asked or not held._together:
        await asyncio.sleep(0.001)
    gone, stays = (asyncio.create_task(held.embed([text])) for text in ("1", "2"))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.sleep(0.01)
    held.embedder.leave.set()
    assert (await stays).ravel().tolist() == [2]
    await first
    assert held.embedder.rounds == [["0"], ["2"]]


async def test_whoever_waits_when_it_closes_is_told(held):
    first = asyncio.create_task(held.embed(["0"]))
    while held._asked or not held._together:
        await asyncio.sleep(0.001)
    waiting = asyncio.create_task(held.embed(["1"]))
    await asyncio.sleep(0)
    held.close()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(waiting, timeout=5)
    held.embedder.leave.set()
    await first


async def test_a_closed_one_takes_no_more_work_and_leaves_no_thread(embedder):
    others = set(threading.enumerate())  # of embedders that other tests share
    served = LocalEmbedder(embedder)
    await served.embed_query("text")
    own = [thread for thread in threading.enumerate() if thread not in others]
    assert [thread for thread in own if thread.name.startswith("embed")]
    served.close()
    served.close()
    with pytest.raises(RuntimeError):
        await served.embed_query("text")
    for thread in own:
        thread.join(timeout=5)
        assert not thread.is_alive()
