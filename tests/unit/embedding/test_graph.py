"""The graph against vectors of the original model: tests/data/minilm_reference.json."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from engine.embedding.graph import encoder
from engine.embedding.install import folder_of
from engine.embedding.weights import obtain, read_tensors

REFERENCE = json.loads((Path(__file__).parents[2] / "data/minilm_reference.json").read_text())
TEXTS = [item["text"] for item in REFERENCE["items"]]
# Sentences of a natural language; the others are code, numbers, an address, single characters.
PROSE = [0, 1, 3, 9, 13, 14, 15]


@dataclasses.dataclass
class Reference:
    vectors: np.ndarray

    def cosines(self, found):
        return np.sum(self.vectors * found, axis=1)


@pytest.fixture(scope="module")
def reference():
    vectors = np.array([item["vector"] for item in REFERENCE["items"]])
    return Reference(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def test_the_reference_is_of_the_weights_that_are_pulled(spec):
    assert REFERENCE["weights_sha256"] == spec.weights.sha256


def test_the_fp32_graph_is_the_original_model(spec, models_path, tmp_path, reference):
    import onnxruntime

    fetched = obtain(spec, spec.weights, into=tmp_path, moved=lambda held: None)
    graph = encoder(read_tensors(fetched / "model.safetensors"), int8=False)
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    folder = folder_of(spec, models_path=models_path)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    encoded = tokenizer.encode_batch(TEXTS)
    ids = np.array([each.ids for each in encoded])
    mask = np.array([each.attention_mask for each in encoded])
    inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    [hidden] = session.run(None, inputs)
    pooled = (hidden * mask[..., None]).sum(axis=1)
    found = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
    assert reference.cosines(found).min() >= 0.9999


def test_int8_stays_near_the_original_one_text_at_a_time(embedder, reference):
    cosines = reference.cosines(np.stack([embedder.embed_query(text) for text in TEXTS]))
    assert cosines.min() >= 0.99
    assert cosines[PROSE].mean() >= 0.995


def test_int8_stays_near_the_original_in_batches(embedder, reference):
    cosines = reference.cosines(embedder.embed(TEXTS))
    assert cosines.min() >= 0.99
    assert cosines[PROSE].mean() >= 0.995
