import runpy
import stat
from pathlib import Path

import onnx
import pytest

from ascend_serve import env
from ascend_serve.artifacts import locks
from ascend_serve.artifacts.locks import held_if_free
from ascend_serve.artifacts.store import Store
from ascend_serve.compiling import build
from ascend_serve.compiling.build import compile_target, prepare, run_build, stored
from ascend_serve.errors import (
    ArtifactError,
    BuildFailed,
    CompileError,
    ConfigError,
    PreflightFailed,
    ToolchainMismatch,
    ToolMissing,
    VerificationFailed,
)
from ascend_serve.spec.recipe import CompileRecipe
from ascend_serve.spec.toolchain import Toolchain
from ascend_serve.spec.verification import Tolerance
from tests.unit.onnx_nets import network

pytestmark = pytest.mark.unit

interrupted_at = runpy.run_path(str(Path(__file__).with_name("store_tools.py")))["interrupted_at"]
w = runpy.run_path(str(Path(__file__).with_name("om_writer.py")))
SUCCESS = "echo ATC run success, welcome to the next use."


@pytest.fixture(autouse=True)
def tools(monkeypatch):
    """An `acl` of a toolchain that only these tests know."""
    monkeypatch.setattr(env, "acl_installed", lambda: True)
    monkeypatch.setattr(env, "acl_distribution", lambda: ("test-tools", "9"))
    monkeypatch.delenv("ASCEND_SERVE_ATC", raising=False)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def recipe(tmp_path):
    onnx.save(
        network("net (float[N,3,2] image) => (float[N,3,2] y) { y = Relu(image) }"), tmp_path / "net.onnx"
    )
    return CompileRecipe.parse(
        {
            "name": "net",
            "source": str(tmp_path / "net.onnx"),
            "inputs": {"image": [-1, 3, 2]},
            "gears": [1, 4],
        }
    )


@pytest.fixture
def atc(tmp_path):
    """Makes an `atc` that writes the given model and ends as told; `runs` counts its builds."""

    def make(om=None, *, suffix=".om", end=SUCCESS, first="", name="atc"):
        om = w["gear_model"](note=b"test-tools 9") if om is None else om
        model, runs = tmp_path / "made.om", tmp_path / "runs"
        model.write_bytes(om)
        program = tmp_path / name
        program.write_text(
            "#!/bin/sh\n"
            'if [ "$1" = --help ]; then echo usage of this atc; exit 0; fi\n'
            f"echo run >> {runs}\n"
            "echo ATC start working now, please wait for a moment.\n"
            'for a in "$@"; do case $a in --output=*) out=${a#--output=};; esac; done\n'
            f"pwd > {tmp_path}/cwd\n"
            f"{first}\n"
            f'cp {model} "${{out}}{suffix}"\n'
            f"echo ...\n{end}\n"
        )
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        return program

    def runs():
        counted = tmp_path / "runs"
        return len(counted.read_text().splitlines()) if counted.exists() else 0

    make.runs = runs
    return make


def published(store):
    return sorted(str(p.relative_to(store.url)) for p in Path(store.url).rglob("*") if p.is_file())


def test_a_target_is_built_once(recipe, store, atc, tmp_path):
    program = atc()
    artifact = compile_target(recipe, "Ascend310P3", store, atc=program)
    assert artifact.fetch().read_bytes() == (tmp_path / "made.om").read_bytes()
    assert (artifact.spec.name, artifact.spec.gears.sizes) == ("net", (1, 4))
    assert artifact.toolchain == Toolchain("test-tools", "9")
    manifest = artifact.manifest
    assert (manifest.soc, manifest.recipe["gears"], manifest.seconds > 0) == ("Ascend310P3", [1, 4], True)
    assert compile_target(recipe, "Ascend310P3", store, atc=program) == artifact
    assert atc.runs() == 1
    assert len(published(store)) == 2


def test_each_build_runs_in_a_folder_of_its_own_that_goes_away(recipe, store, atc, tmp_path):
    compile_target(recipe, "Ascend310P3", store, atc=atc())
    assert not Path((tmp_path / "cwd").read_text().strip()).exists()


def test_a_file_named_for_host_and_cpu_is_found(recipe, store, atc):
    assert compile_target(recipe, "Ascend310P3", store, atc=atc(suffix="_linux_x86_64.om")).fetch().is_file()


def test_one_gear_is_compiled_static_and_served_batched(recipe, store, atc):
    om = w["static_model"]([("image", 0, (4, 3, 2))], [("y", 0, (4, 9))], note=b"test-tools 9")
    artifact = compile_target(recipe.model_copy(update={"gears": (4,)}), "Ascend310P3", store, atc=atc(om))
    assert (artifact.spec.batched, artifact.spec.gears.sizes) == (True, (4,))


def test_shapes_without_gears_are_served_as_they_are(recipe, store, atc):
    om = w["static_model"]([("image", 0, (4, 3, 2))], [("y", 0, (4, 9))], note=b"test-tools 9")
    static = recipe.model_copy(update={"gears": (), "inputs": {"image": (4, 3, 2)}})
    artifact = compile_target(static, "Ascend310P3", store, atc=atc(om))
    assert (artifact.spec.batched, artifact.spec.inputs[0].shape) == (False, (4, 3, 2))


REPORT = (
    "echo 'ATC run failed, Please check the detail log'; echo '[PID: 1] now Invalid(E10016): Op name x "
    "specified in --input_shape is not found.'; exit 255"
)


def test_a_failure_is_diagnosed_kept_and_not_repeated(recipe, store, atc):
    program = atc(first=REPORT)
    with pytest.raises(BuildFailed) as caught:
        compile_target(recipe, "Ascend310P3", store, atc=program)
    error = caught.value
    assert (error.code, error.target) == ("E10016", "net@Ascend310P3")
    assert error.cause == "Op name x specified in --input_shape is not found."
    assert "inputs" in error.hint
    assert "E10016" in Path(error.log_path).read_text()

    with pytest.raises(BuildFailed, match="--retry-failed") as again:
        compile_target(recipe, "Ascend310P3", store, atc=program)
    assert (again.value.code, again.value.cause, again.value.log_path) == (
        error.code,
        error.cause,
        error.log_path,
    )
    assert atc.runs() == 1
    assert [name.split("/")[0] for name in published(store)] == ["failed", "failed"]

    with pytest.raises(BuildFailed):
        compile_target(recipe, "Ascend310P3", store, atc=program, retry_failed=True)
    assert atc.runs() == 2


def test_another_target_is_not_held_up_by_a_failure(recipe, store, atc):
    program = atc(
        w["gear_model"](soc="Ascend310P1", note=b"test-tools 9"),
        first=f'case "$*" in *310P3*) {REPORT};; esac',
    )
    with pytest.raises(BuildFailed):
        compile_target(recipe, "Ascend310P3", store, atc=program)
    assert compile_target(recipe, "Ascend310P1", store, atc=program).soc == "Ascend310P1"


@pytest.mark.parametrize(
    ("made", "says"),
    [
        ({"end": "true"}, "did not report success"),
        ({"end": SUCCESS + "; exit 3"}, "status 3"),
        ({"suffix": ".txt"}, "left no net.om"),
        ({"om": w["gear_model"](note=b"test-tools 9")[:-1]}, "cut off"),
        ({"om": w["gear_model"](soc="Ascend910A", note=b"test-tools 9")}, "it is for Ascend910A"),
        (
            {"om": w["gear_model"](gears=(1, 8), note=b"test-tools 9")},
            r"gears \[1, 8\], asked for were \[1, 4\]",
        ),
        ({"first": "kill -9 $$"}, "killed .SIGKILL.*memory"),
    ],
)
def test_whatever_is_wrong_is_not_published(recipe, store, atc, made, says):
    with pytest.raises(BuildFailed, match=says):
        compile_target(recipe, "Ascend310P3", store, atc=atc(**made))
    assert {name.split("/")[0] for name in published(store)} == {"failed"}


def test_other_inputs_than_asked_for_are_not_published(recipe, store, atc):
    other = recipe.model_copy(update={"inputs": {"picture": (-1, 3, 2)}})
    with pytest.raises(BuildFailed, match=r"its inputs are image \[-1, 3, 2\], asked for were picture"):
        compile_target(other, "Ascend310P3", store, atc=atc(), skip_preflight=True)


def test_what_preflight_finds_is_told_and_atc_is_not_run(recipe, store, atc):
    other = recipe.model_copy(update={"inputs": {"picture": (-1, 3, 2)}})
    with pytest.raises(PreflightFailed, match=r"net@Ascend310P3: .*picture"):
        compile_target(other, "Ascend310P3", store, atc=atc())
    assert atc.runs() == 0
    assert published(store) == []


def test_what_cannot_be_served_as_it_is_is_published_and_says_why(recipe, store, atc):
    om = w["gear_model"](scaling=False, note=b"test-tools 9")
    artifact = compile_target(recipe, "Ascend310P3", store, atc=atc(om))
    with pytest.raises(
        ConfigError, match=r"cannot be served: .*mixes batched tensors with fixed ones .best:0"
    ):
        artifact.spec  # noqa: B018 (a property that raises)


def test_each_step_is_told_as_it_begins(recipe, store, atc):
    steps = list(run_build(prepare(recipe, "Ascend310P3", store, atc=atc()), store))
    assert steps == ["compiling"]


def test_a_gate_decides_what_is_published(recipe, store, atc):
    seen = []

    def gate(told, om):
        seen.append((told.name, om.read_bytes()))
        if len(seen) == 1:
            raise VerificationFailed("it computes something else")
        return {"passed": True}

    checked = recipe.model_copy(update={"verify": Tolerance()})
    program = atc()
    with pytest.raises(ConfigError, match="needs a card and a gate"):
        compile_target(checked, "Ascend310P3", store, atc=program)
    with pytest.raises(VerificationFailed):
        compile_target(checked, "Ascend310P3", store, atc=program, gate=gate)
    assert not list(Path(store.url).glob("??/*/manifest.json"))
    with pytest.raises(BuildFailed, match=r"computes something else.*--bisect.*--retry-failed"):
        compile_target(checked, "Ascend310P3", store, atc=program, gate=gate)
    artifact = compile_target(checked, "Ascend310P3", store, atc=program, gate=gate, retry_failed=True)
    assert artifact.manifest.verification == {"passed": True}
    assert seen == [("net", artifact.fetch().read_bytes())] * 2


def test_a_build_that_is_left_gives_its_lock_back(recipe, store, atc):
    prepared = prepare(recipe, "Ascend310P3", store, atc=atc())
    steps = run_build(prepared, store)
    assert next(steps) == "compiling"
    assert not store.lock(prepared.key).try_acquire()
    steps.close()
    again = store.lock(prepared.key)
    assert again.try_acquire()
    again.release()
    assert published(store) == []


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_an_interrupt_at_any_step_gives_the_lock_back(recipe, store, atc, monkeypatch):
    """Ray cancels a task by one, in a process that lives on."""
    prepared, step = prepare(recipe, "Ascend310P3", store, atc=atc()), 1

    def building(*_):
        yield "compiling"

    monkeypatch.setattr(build, "_build", building)
    while interrupted_at([build, locks], step, lambda: list(run_build(prepared, store, skip_preflight=True))):
        with held_if_free(store.lock(prepared.key)) as is_free:
            assert is_free, f"still held after an interrupt at step {step}"
        step += 1
    assert step > 100


@pytest.mark.parametrize("damage", [lambda om: om.write_bytes(om.read_bytes()[:-1]), Path.unlink])
def test_what_is_cut_off_or_gone_in_the_store_is_built_again(recipe, store, atc, damage):
    program = atc()
    first = compile_target(recipe, "Ascend310P3", store, atc=program)
    whole = first.fetch().read_bytes()
    damage(first.fetch())
    prepared = prepare(recipe, "Ascend310P3", store, atc=program)
    assert stored(prepared, store) is None
    again = compile_target(recipe, "Ascend310P3", store, atc=program)
    assert atc.runs() == 2
    assert stored(prepared, store) == again
    assert again.fetch().read_bytes() == whole


def test_the_time_limit_ends_a_build(recipe, store, atc):
    slow = recipe.model_copy(update={"timeout_s": 0.2})
    with pytest.raises(BuildFailed, match=r"time limit of 0\.2 s"):
        compile_target(slow, "Ascend310P3", store, atc=atc(first="exec tail -f /dev/null"))


def test_a_kept_failure_is_news_again_when_circumstances_change(recipe, store, atc, monkeypatch):
    program = atc(first='case "$ASCEND_HOME_PATH" in /opt/*) exit 255;; esac')
    monkeypatch.setenv("ASCEND_HOME_PATH", "/opt/other")
    for _ in range(2):
        with pytest.raises(BuildFailed):
            compile_target(recipe, "Ascend310P3", store, atc=program)
    assert atc.runs() == 1
    monkeypatch.delenv("ASCEND_HOME_PATH")
    assert compile_target(recipe, "Ascend310P3", store, atc=program).fetch().is_file()


@pytest.mark.parametrize(("note", "vendor"), [(b"", "CANN"), (b"others 1", "others 1")])
def test_tools_of_another_kind_than_acl_are_refused(recipe, store, atc, note, vendor):
    with pytest.raises(ToolchainMismatch, match=rf"is of {vendor}.*acl.*is of test-tools 9"):
        compile_target(recipe, "Ascend310P3", store, atc=atc(w["gear_model"](note=note)))
    assert published(store) == []


def test_an_artifact_is_refused_when_acl_changes_afterwards(recipe, store, atc, monkeypatch):
    program = atc()
    compile_target(recipe, "Ascend310P3", store, atc=program)
    monkeypatch.setattr(env, "acl_distribution", lambda: None)
    with pytest.raises(ToolchainMismatch, match="is of CANN"):
        compile_target(recipe, "Ascend310P3", store, atc=program)


def test_without_an_acl_any_toolchain_compiles(recipe, store, atc, monkeypatch):
    monkeypatch.setattr(env, "acl_installed", lambda: False)
    assert compile_target(recipe, "Ascend310P3", store, atc=atc(w["gear_model"]())).toolchain.vendor == "CANN"


def test_a_new_toolchain_builds_again(recipe, store, atc):
    first = compile_target(recipe, "Ascend310P3", store, atc=atc())
    program = atc(name="atc2")
    program.write_text(program.read_text().replace("usage of this atc", "usage of a newer atc"))
    assert compile_target(recipe, "Ascend310P3", store, atc=program).location != first.location


def test_what_is_wrong_before_the_build_is_told_plainly(recipe, store, atc, tmp_path):
    with pytest.raises(ConfigError, match="unknown SoC"):
        compile_target(recipe, "Ascend310P9", store, atc=atc())
    with pytest.raises(ToolMissing, match="no program"):
        compile_target(recipe, "Ascend310P3", store, atc=tmp_path / "none")
    with pytest.raises(ConfigError, match="does not exist"):
        compile_target(recipe.model_copy(update={"source": "gone.onnx"}), "Ascend310P3", store, atc=atc())
    refusing = tmp_path / "refusing"
    refusing.write_text("#!/bin/sh\necho not on this machine\nexit 255\n")
    refusing.chmod(0o755)
    with pytest.raises(CompileError, match="ended with status 255: not on this machine"):
        compile_target(recipe, "Ascend310P3", store, atc=refusing)
    assert not Path(store.url).exists()


def test_a_store_that_cannot_be_written_keeps_its_own_error(recipe, atc, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="Not a directory") as caught:
        compile_target(recipe, "Ascend310P3", Store(tmp_path / "file"), atc=atc())
    assert not isinstance(caught.value, ArtifactError)


def test_the_recipe_of_the_examples_is_well_formed():
    from ascend_serve.compiling.recipes import load_recipe

    recipes = Path(__file__).parents[2] / "compile_jobs" / "recipes"
    for file in recipes.glob("*.yaml"):
        source = Path(load_recipe(file).source)
        # What an example makes for itself is not kept here; who makes it is.
        assert source.exists() or (
            source.parent.name == "build" and list(source.parent.parent.glob("make*.py"))
        )
