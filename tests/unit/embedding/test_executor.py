import asyncio
import threading

import numpy as np
import pytest

from engine.embedding.executor import LocalEmbedder

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
