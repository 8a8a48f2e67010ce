"""What cannot be compiled or served says so in one line, with the way out, and leaves nothing half-written."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.serve.tools import ROOT

pytestmark = pytest.mark.serve

MODEL = ROOT / "examples/digits/resnet20.onnx"
Write = Callable[..., Path]


@pytest.fixture
def recipe(tmp_path: Path) -> Write:
    """Write a recipe that differs from the shipped one as told."""

    def write(**changes: Any) -> Path:
        told = yaml.safe_load((ROOT / "compile_jobs/recipes/resnet.yaml").read_text())
        told.update({"source": str(MODEL), **changes})
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(told))
        return path

    return write


def failure(**args: Any) -> str:
    """What the builder says, which is what Serve shows."""
    from ray.serve.exceptions import RayServeException

    from ascend_serve.serving.app import Args, build

    with pytest.raises(RayServeException) as caught:
        build(Args(**args))
    message = str(caught.value)
    assert "\n" not in message
    return message


def nothing_half_written(store: Path) -> bool:
    left = [path for path in store.rglob("*") if path.is_file()]
    return all(path.is_relative_to(store / "failed") for path in left)


def test_a_broken_onnx(ray_cluster: None, recipe: Write, tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(MODEL.read_bytes()[:5000])
    message = failure(recipe=recipe(source=str(broken)), store=str(tmp_path / "store"))
    assert "E13005" in message
    assert "broken.onnx" in message
    assert nothing_half_written(tmp_path / "store")


def test_a_failed_build_is_remembered_and_tried_again_when_asked(
    ray_cluster: None, recipe: Write, tmp_path: Path
) -> None:
    # No `atc` is that quick, and preflight knows nothing of time.
    told: dict[str, Any] = {"recipe": recipe(timeout_s=0.05), "store": str(tmp_path / "store")}
    first = failure(**told)
    assert "time limit" in first
    assert "Kept from" not in first
    assert "Kept from" in failure(**told)
    assert "Kept from" not in failure(**told, retry_failed=True)
    assert nothing_half_written(tmp_path / "store")


def test_an_unknown_soc(ray_cluster: None, tmp_path: Path) -> None:
    message = failure(
        recipe=ROOT / "compile_jobs/recipes/resnet.yaml", targets=["Ascend310P33"], store=str(tmp_path)
    )
    assert "Ascend310P33" in message
    assert "Ascend310P3" in message.replace("Ascend310P33", "")


def test_gears_that_the_model_refuses(ray_cluster: None, recipe: Write, tmp_path: Path) -> None:
    # The batch axis is written into this model, so no other size fits.
    import onnx
    from onnx import TensorProto, helper

    value = helper.make_tensor_value_info
    shape = helper.make_tensor("shape", TensorProto.INT64, [2], [1, 12])
    graph = helper.make_graph(
        [helper.make_node("Reshape", ["image", "shape"], ["logits"], name="to_one_row")],
        "fixed",
        [value("image", TensorProto.FLOAT, ["batch", 3, 4])],
        [value("logits", TensorProto.FLOAT, ["batch", 12])],
        [shape],
    )
    fixed = tmp_path / "fixed.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), fixed)
    message = failure(
        recipe=recipe(source=str(fixed), inputs={"image": [-1, 3, 4]}), store=str(tmp_path / "store")
    )
    assert "to_one_row" in message
    assert nothing_half_written(tmp_path / "store")


def test_a_missing_atc(
    ray_cluster: None, recipe: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ascend_serve.artifacts.store import Store
    from ascend_serve.compiling.build import compile_target
    from ascend_serve.compiling.recipes import load_recipe
    from ascend_serve.errors import ToolMissing

    monkeypatch.setenv("ASCEND_SERVE_ATC", str(tmp_path / "nowhere/atc"))
    with pytest.raises(ToolMissing, match="nowhere/atc"):
        compile_target(load_recipe(recipe()), "Ascend310P3", Store(tmp_path / "store"))
    assert not (tmp_path / "store").exists()


def test_a_mix_of_tools(
    ray_cluster: None, recipe: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An `atc` of one vendor beside an `acl` of another: what comes out of it is refused, not published."""
    from ascend_serve.artifacts.store import Store
    from ascend_serve.compiling.build import compile_target
    from ascend_serve.compiling.recipes import load_recipe
    from ascend_serve.errors import ToolchainMismatch

    # A real file of CANN's says nothing where this one names its maker (userdefineinfo, bytes 120 to 151).
    foreign = tmp_path / "atc"
    foreign.write_text(
        f"#!{sys.executable}\n"
        "import sys\n"
        "from ascend_emulator.atc import main\n"
        "status = main()\n"
        "out = [a.split('=', 1)[1] for a in sys.argv if a.startswith('--output=')]\n"
        "if out:\n"
        "    with open(out[0] + '.om', 'r+b') as om:\n"
        "        om.seek(120)\n"
        "        om.write(bytes(32))\n"
        "sys.exit(status)\n"
    )
    foreign.chmod(0o755)
    with pytest.raises(ToolchainMismatch, match="CANN"):
        compile_target(load_recipe(recipe()), "Ascend310P3", Store(tmp_path / "store"), atc=foreign)
    assert nothing_half_written(tmp_path / "store")


def test_compile_never_names_the_command_that_compiles(
    ray_cluster: None, recipe: Write, tmp_path: Path
) -> None:
    message = failure(recipe=recipe(), store=str(tmp_path / "store"), compile="never")
    assert "python -m compile_jobs" in message
    assert "--soc Ascend310P3" in message


def test_the_command_line_says_it_in_one_line_and_ends_with_a_status(tmp_path: Path) -> None:
    told = yaml.safe_load((ROOT / "deployments/resnet.yaml").read_text())
    told["applications"][0]["args"]["recipee"] = "x"
    told["applications"][0]["deployments"][0]["max_ongoing_request"] = 7
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(yaml.safe_dump(told))
    for verb in ("check", "run"):
        ended = subprocess.run(
            [Path(sys.executable).parent / "ascend-serve", verb, wrong],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ended.returncode != 0
        assert "did you mean 'recipe'?" in ended.stderr
        assert "did you mean 'max_ongoing_requests'?" in ended.stderr
        assert "Traceback" not in ended.stderr


def test_a_missing_acl_says_how_to_get_it(
    ray_cluster: None, recipe: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ascend_serve import env
    from ascend_serve.serving import app

    monkeypatch.setattr(app, "cluster_socs", list)
    monkeypatch.setattr(env, "acl_installed", lambda: False)
    message = failure(recipe=recipe(), store=str(tmp_path / "store"))
    assert "set_env.sh" in message
    assert "'Develop without a card' in the README" in message
