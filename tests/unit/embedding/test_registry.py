import pytest

from engine.config import Settings
from engine.embedding import Registry
from engine.embedding.specs import MINILM
from engine.errors import InvalidRequest


def test_the_default_is_the_model_that_needs_no_hub():
    registry = Registry.from_settings(Settings())
    assert registry.default is MINILM
    assert registry.default_name == MINILM.name
    assert (MINILM.dimensions, MINILM.tokens_max) == (384, 256)


def test_an_unknown_name_is_refused_naming_the_field():
    with pytest.raises(InvalidRequest, match="'nobody/knows-it' is not known") as refused:
        Registry.from_settings(Settings()).get("nobody/knows-it")
    assert [detail.field for detail in refused.value.details] == ["embedding_model"]


def test_a_model_of_fastembed_can_be_chosen_by_its_name():
    spec = Registry.from_settings(Settings()).get("BAAI/bge-small-en-v1.5")
    assert (spec.dimensions, spec.tokens_max, spec.weights) == (384, 512, None)


def test_the_list_names_each_model_once_with_what_a_table_needs():
    specs = Registry.from_settings(Settings()).specs()
    names = [spec.name for spec in specs]
    assert names[0] == MINILM.name
    assert len(names) == len(set(names)) > 20
    assert all(spec.dimensions > 0 and spec.tokens_max > 0 and spec.license for spec in specs)


def test_out_of_the_box_every_public_name_stands_for_the_default_model():
    registry = Registry.from_settings(Settings())
    assert registry.public_names == (
        "e5_mistral_7b_instruct",
        "multilingual_e5_large_instruct",
        "gemini-embedding-001",
    )
    assert all(registry.public(name) is MINILM for name in registry.public_names)


@pytest.mark.parametrize("name", ["", "e5", MINILM.name, "x" * 10_000])
def test_a_name_that_is_not_public_is_refused_naming_those_that_are(name):
    with pytest.raises(InvalidRequest) as refused:
        Registry.from_settings(Settings()).public(name)
    assert len(refused.value.message) < 200
    [detail] = refused.value.details
    assert detail.field == "model"
    assert "multilingual_e5_large_instruct" in detail.issue


def test_an_unknown_default_shows_when_it_is_read_and_not_before():
    registry = Registry.from_settings(Settings(embedding_model="nobody/knows-it"))
    with pytest.raises(InvalidRequest):
        _ = registry.default
    with pytest.raises(InvalidRequest):
        registry.public("e5_mistral_7b_instruct")


def test_an_empty_path_of_the_models_file_is_none_as_compose_files_give_it():
    settings = Settings.from_env({"RAG_ENGINE_MODELS_FILE": ""})
    assert Registry.from_settings(settings).default.name == settings.embedding_model
