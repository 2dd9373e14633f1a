"""The measure that the SDK's answers are held to: it has to find what the SDK lets pass."""

from typing import Any

import pytest
from elevenlabs import RagDocumentIndexResponseModel
from elevenlabs.conversational_ai.knowledge_base import (
    KnowledgeBaseGetOrCreateRagIndexesResponseValue,
)
from fix_sdk import faults, uncovered

INDEX: dict[str, Any] = {
    "id": "a",
    "model": "e5_mistral_7b_instruct",
    "status": "succeeded",
    "progress_percentage": 100,
    "document_model_index_usage": {"used_bytes": 1},
}
BATCH = dict[str, KnowledgeBaseGetOrCreateRagIndexesResponseValue]


def test_an_answer_as_declared_has_no_fault() -> None:
    assert faults(INDEX, RagDocumentIndexResponseModel) == []
    failure = {"status": "failure", "error_code": 404, "error_status": "a", "error_message": "b"}
    assert faults({"a": {"status": "success", "data": INDEX}, "b": failure}, BATCH) == []


@pytest.mark.parametrize(
    "changed",
    [
        {"id": 7},
        {"id": None},
        {"status": "done"},
        {"progress_percentage": "100"},
        {"progress_percentage": True},
        {"document_model_index_usage": {}},
        {"document_model_index_usage": {"used_bytes": 1.5}},
        {"progressPercentage": 100},
    ],
    ids=str,
)
def test_a_value_that_is_not_as_declared_is_a_fault(changed: dict[str, Any]) -> None:
    assert len(faults(INDEX | changed, RagDocumentIndexResponseModel)) == 1


@pytest.mark.parametrize("name", INDEX)
def test_a_field_that_is_missing_is_a_fault(name: str) -> None:
    less = {key: value for key, value in INDEX.items() if key != name}
    assert len(faults(less, RagDocumentIndexResponseModel)) == 1


def test_a_discriminator_has_to_be_sent() -> None:
    assert faults({"a": {"data": INDEX}}, BATCH) != []


def test_what_no_part_covers_is_told() -> None:
    text = "one two three four"
    assert uncovered(text, parts=["one two", "three four"]) == ""
    assert uncovered(text, parts=["one two", "two three", "four"]) == ""
    assert uncovered(text, parts=["one two", "four"]) == "three"
    with pytest.raises(AssertionError):
        uncovered(text, parts=["one three"])
