"""The models file: what it may say, and that each mistake is named with the file and the key."""

from pathlib import Path

import pytest

from engine.config import Settings, SettingsError
from engine.embedding import ModelsFileError, Registry
from engine.embedding.modelsfile import read
from engine.embedding.specs import MINILM

NEEDED = """
url = "http://127.0.0.1:8080/v1"
dimensions = 1024
tokens_max = 8192
version = "1"
"""
WHOLE = f"""
[models."my/bge"]
{NEEDED}
model = "BAAI/bge-m3"
api_key_env = "BGE_KEY"
query_prefix = "query: "
passage_prefix = "passage: "
tokenizer = "bge/tokenizer.json"
timeout_s = 12
concurrency = 2
batch_tokens = 1000
batch_items = 7

[models.plain]
{NEEDED}
api_key_file = "/run/secrets/key"

[public]
e5_mistral_7b_instruct = "my/bge"
gemini-embedding-001 = "sentence-transformers/all-MiniLM-L6-v2"
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "models.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_table_says_all_about_a_model(tmp_path):
    spec = read(written(tmp_path, WHOLE)).models["my/bge"]
    assert (spec.name, spec.dimensions, spec.tokens_max) == ("my/bge", 1024, 8192)
    assert (spec.version, spec.weights, spec.on_disk) == ("1", None, None)
    endpoint = spec.endpoint
    assert endpoint is not None
    assert endpoint.url == "http://127.0.0.1:8080/v1/embeddings"
    assert (endpoint.model, endpoint.api_key_env) == ("BAAI/bge-m3", "BGE_KEY")
    assert (endpoint.query_prefix, endpoint.passage_prefix) == ("query: ", "passage: ")
    assert endpoint.tokenizer == tmp_path / "bge/tokenizer.json"
    assert (endpoint.timeout_s, endpoint.concurrency) == (12.0, 2)
    assert (endpoint.batch_tokens, endpoint.batch_items) == (1000, 7)


def test_what_a_table_leaves_out_has_a_default(tmp_path):
    spec = read(written(tmp_path, WHOLE)).models["plain"]
    endpoint = spec.endpoint
    assert endpoint is not None
    assert endpoint.model == "plain"
    assert endpoint.api_key_file == Path("/run/secrets/key")
    assert (endpoint.timeout_s, endpoint.concurrency) == (30.0, 4)
    assert (endpoint.batch_tokens, endpoint.batch_items) == (16_384, 32)
    assert spec.on_disk is MINILM


@pytest.mark.parametrize(
    "url", ["http://h:8080/v1", "http://h:8080/v1/", "http://h:8080/v1/embeddings"]
)
def test_the_path_of_the_call_is_appended_once(tmp_path, url):
    text = f"[models.m]\n{NEEDED}".replace("http://127.0.0.1:8080/v1", url)
    endpoint = read(written(tmp_path, text)).models["m"].endpoint
    assert endpoint is not None
    assert endpoint.url == "http://h:8080/v1/embeddings"


def test_an_empty_file_says_nothing(tmp_path):
    file = read(written(tmp_path, ""))
    assert (file.models, file.public) == ({}, {})


def without(key: str) -> str:
    return "\n".join(line for line in NEEDED.splitlines() if not line.startswith(key))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[models", "is not TOML"),
        (f"x = {'9' * 5000}", "is not TOML"),
        (f"x = {'[' * 100_000}", "is not TOML"),
        ("[modls]", r"contains unknown field `modls` \(the keys here are models, public\)"),
        ("[models]\nx = 3", r"\[models.x\] Expected a table"),
        ("models = 3", "Expected a table, got `int` at `models`"),
        (f"[models.x]\n{NEEDED}\ndimension = 3", r"\[models.x\] contains .* `dimension`"),
        *((f"[models.x]\n{without(key)}", f"lacks required field `{key}`")
          for key in ("url", "dimensions", "tokens_max", "version")),
        (f"[models.x]\n{without('version')}\nversion = 1", "got `int` at `version`"),
        (f"[models.x]\n{without('version')}\nversion = ''", "at `version`"),
        (f"[models.x]\n{without('dimensions')}\ndimensions = 16001", "16000 at `dimensions`"),
        (f"[models.x]\n{without('dimensions')}\ndimensions = 0", ">= 1 at `dimensions`"),
        (f"[models.x]\n{without('dimensions')}\ndimensions = 1.5", "at `dimensions`"),
        (f"[models.x]\n{without('tokens_max')}\ntokens_max = 3000000000", "at `tokens_max`"),
        (f"[models.x]\n{NEEDED}\ntimeout_s = '3'", "Expected `float`, got `str` at `timeout_s`"),
        (f"[models.x]\n{NEEDED}\ntimeout_s = 0", "at `timeout_s`"),
        (f"[models.x]\n{NEEDED}\ntimeout_s = nan", "at `timeout_s`"),
        (f"[models.x]\n{NEEDED}\nconcurrency = 0", "at `concurrency`"),
        (f"[models.x]\n{NEEDED}\nbatch_items = true", "at `batch_items`"),
        (f"[models.x]\n{NEEDED}\nbatch_tokens = 0", "at `batch_tokens`"),
        (f"[models.x]\n{NEEDED}\napi_key_env = 'A'\napi_key_file = 'b'", "only one of them"),
        (f'[models."x\\ny"]\n{NEEDED}', "printable characters"),
        (f'[models.""]\n{NEEDED}', "printable characters"),
        (f'[models."{MINILM.name}"]\n{NEEDED}', "the name of the built-in model"),
        *((f"[models.x]\n{without('url')}\nurl = '{url}'", rf"\[models.x\] url: {words}")
          for url, words in [
              ("", "must be like"), ("127.0.0.1:8080", "must be like"), ("ftp://h/v1", "must be"),
              ("http:///v1", "must be like"), ("http://h:0/v1", "must be like"),
              ("http://h:99999/v1", "is not a URL"), ("http://[::1/v1", "is not a URL"),
              ("http://10.0.0.256/v1", "is not a URL"), ("http://a..b/v1", "is not a URL"),
              (f"http://{'a' * 64}.com/v1", "is not a URL"), ("http://xn--a/v1", "is not a URL"),
              ("http://h/ü", "must be like"), ("http://h/v 1", "must be like"),
              ("http://u:secret@h/v1", "must not hold a password"),
              ("http://h/v1?key=1", "must not have a query"), ("http://h/v1#x", "must not have a"),
          ]),
        ("[public]\ne5_mistral_7b_instruct = 3", r"\[public\] e5_mistral_7b_instruct: must be"),
        ("[public]\ne5_mistral_7b_instruct = 'nobody'", r"7b_instruct: 'nobody' is neither"),
        ("[public]\ne5 = 'x'", r"\[public\] e5: is not a public name; there are e5_mis"),
    ],
)  # fmt: skip
def test_a_mistake_is_an_error_of_the_settings_that_names_file_and_key(tmp_path, text, words):
    path = written(tmp_path, text)
    with pytest.raises(SettingsError, match=words) as refused:
        Registry.from_settings(Settings(models_file=path))
    assert isinstance(refused.value, ModelsFileError)
    assert str(refused.value).startswith(f"RAG_ENGINE_MODELS_FILE: {path}: ")
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read: No such file"),
        (b"\xff", "is not UTF-8"),
        (b"#" * 2_000_000, "larger"),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path, content, words):
    path = tmp_path / "models.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelsFileError, match=words):
        Registry.from_settings(Settings(models_file=path))


def test_the_registry_knows_the_models_of_the_file(tmp_path):
    registry = Registry.from_settings(Settings(models_file=written(tmp_path, WHOLE)))
    assert registry.get("my/bge").dimensions == 1024
    assert [spec.name for spec in registry.specs()][:3] == [MINILM.name, "my/bge", "plain"]
    assert registry.default is MINILM


def test_a_model_of_the_file_can_be_the_default(tmp_path):
    settings = Settings(models_file=written(tmp_path, WHOLE), embedding_model="plain")
    registry = Registry.from_settings(settings)
    assert registry.default.endpoint is not None
    assert registry.public("multilingual_e5_large_instruct").name == "plain"


def test_public_names_stand_for_what_the_file_says_and_else_for_the_default(tmp_path):
    registry = Registry.from_settings(Settings(models_file=written(tmp_path, WHOLE)))
    assert registry.public_models == {
        "e5_mistral_7b_instruct": "my/bge",
        "multilingual_e5_large_instruct": MINILM.name,
        "gemini-embedding-001": MINILM.name,
    }
    assert registry.public("e5_mistral_7b_instruct") is registry.get("my/bge")


def test_a_public_name_may_stand_for_a_model_of_fastembed_and_share_a_name_with_one_of_the_file(
    tmp_path,
):
    text = f"[models.e5_mistral_7b_instruct]\n{NEEDED}\n[public]\n"
    text += 'e5_mistral_7b_instruct = "e5_mistral_7b_instruct"\n'
    text += 'multilingual_e5_large_instruct = "BAAI/bge-small-en-v1.5"\n'
    registry = Registry.from_settings(Settings(models_file=written(tmp_path, text)))
    assert registry.public("e5_mistral_7b_instruct").dimensions == 1024
    assert registry.public("multilingual_e5_large_instruct").dimensions == 384


def test_a_model_of_the_file_hides_one_of_fastembed_with_its_name(tmp_path):
    text = f'[models."BAAI/bge-small-en-v1.5"]\n{NEEDED}'
    registry = Registry.from_settings(Settings(models_file=written(tmp_path, text)))
    found = [spec for spec in registry.specs() if spec.name == "BAAI/bge-small-en-v1.5"]
    assert [spec.dimensions for spec in found] == [1024]
    assert registry.get("BAAI/bge-small-en-v1.5").dimensions == 1024


def test_the_example_of_the_docs_is_a_models_file(tmp_path):
    page = Path(__file__).parents[3] / "docs" / "models.md"
    example = page.read_text("utf-8").partition("```toml\n")[2].partition("```")[0]
    registry = Registry.from_settings(Settings(models_file=written(tmp_path, example)))
    assert len([spec for spec in registry.specs() if spec.endpoint]) >= 4
    assert set(registry.public_models) == set(registry.public_names)


def test_the_docs_name_every_key_with_its_default():
    from engine.embedding.modelsfile import _Model

    page = (Path(__file__).parents[3] / "docs" / "models.md").read_text("utf-8")
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| `")]
    documented = {row[0].strip("| `"): row[1].strip("`") for row in rows}
    fields, values = _Model.__struct_fields__, _Model.__struct_defaults__
    expected = dict.fromkeys(fields[: len(fields) - len(values)], "needed")
    for field, value in zip(fields[-len(values) :], values, strict=True):
        expected[field] = "empty" if value == "" else str(value).removesuffix(".0")
    assert documented == expected | {"model": "the table's name"}
