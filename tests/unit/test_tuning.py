"""Tuning by AOE: its command line, the key of a knowledge bank, and runs of a stub and of the emulated aoe."""

import re
import shlex
import sys

import onnx
import pytest

from ascend_serve.artifacts.store import Store
from ascend_serve.compiling import toolchain
from ascend_serve.compiling.build import compile_target
from ascend_serve.compiling.diagnosis.diagnose import Diagnosis
from ascend_serve.compiling.recipes import anchored
from ascend_serve.compiling.tuning import arguments, bank_options, find_aoe, tune, tuning_key
from ascend_serve.errors import BuildFailed, ConfigError, ToolMissing
from ascend_serve.spec.recipe import CompileRecipe
from ascend_serve.spec.soc import resolve_soc

pytestmark = pytest.mark.unit

SOC = resolve_soc("Ascend310P3")
HEADER = '<ir_version: 8, opset_import: ["" : 17]> net '
NET = HEADER + "(float[2,4] x, float[2,4] y) => (float[2,4] z) { z = Add(x, y) }"
PRODUCT = HEADER + "(float[2,4] x, float[4,4] y) => (float[2,4] z) { z = MatMul(x, y) }"
FINISHED = "[Aoe]Aoe process finished,cost time 3s."


def recipe(**settings):
    given = {"name": "net", "source": "net.onnx", "inputs": {"x": [2, 4], "y": [2, 4]}}
    return CompileRecipe.parse(given | {"tune": {"job_type": "operator"}} | settings)


def program(path, script):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name in ("TE_PARALLEL_COMPILER", "TUNE_BANK_PATH", "ASCEND_HOME_PATH", "ASCEND_SERVE_AOE"):
        monkeypatch.delenv(name, raising=False)
    onnx.save(onnx.parser.parse_model(NET), tmp_path / "net.onnx")
    return tmp_path


# --- the command line ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "settings", "job_type"),
    [
        # ModelZoo-PyTorch ACL_PyTorch, CSNLN: its README.
        (
            "aoe --framework=5 --model=csnln_x4.onnx --job_type=2 --output=./test_perf --input_format=NCHW "
            '--input_shape="image:1,3,56,56"',
            {"input_format": "NCHW", "inputs": {"image": [1, 3, 56, 56]}},
            "operator",
        ),
        # ModelZoo-PyTorch ACL_PyTorch, ECAPA-TDNN: its script for om files.
        (
            "aoe --model=ecapa_tdnn_sim.onnx --framework=5 --input_format=ND --output=./om_aoe/ecapa_tdnn_bs4_jt1 "
            '--job_type=1 --input_shape="mel:4,80,200"',
            {"input_format": "ND", "inputs": {"mel": [4, 80, 200]}},
            "subgraph",
        ),
        # ModelZoo-PyTorch ACL_PyTorch, ENet: its README (written there with spaces for some `=`).
        (
            "aoe --framework=5 --model=enet_citys.onnx --job_type=1 --output=./enet_bs32_aoe_job1_1 "
            '--input_shape="image:32,3,480,480" --log=error',
            {"inputs": {"image": [32, 3, 480, 480]}, "log": "error"},
            "subgraph",
        ),
        # The CANN guide's sample for Caffe; its --output is left to AOE there.
        (
            "aoe --framework=0 --model=resnet50.prototxt --weight=resnet50.caffemodel --job_type=2 --output=out",
            {"weight": "resnet50.caffemodel", "inputs": {}},
            "operator",
        ),
    ],
)
def test_commands_from_public_guides(command, settings, job_type):
    words = shlex.split(command)[1:]
    source = next(word for word in words if word.startswith("--model=")).partition("=")[2]
    stem = next(word for word in words if word.startswith("--output=")).partition("=")[2]
    made = recipe(source=source, tune={"job_type": job_type}, **settings)
    assert sorted(arguments(made, source, stem)) == sorted(words)


def test_what_aoe_does_not_know_is_left_out_and_its_own_is_added():
    made = recipe(
        inputs={"x": [-1, 4], "y": [-1, 4]},
        gears=[1, 8],
        precision="mixed",
        targets=["Ascend310P3"],
        oo_level="O1",
        extra_args=["--new_option=1"],
        fusion_switch_file="/fusion.cfg",
        tune={
            "job_type": "operator",
            "tune_optimization_level": "O1",
            "tune_ops_file": "/ops.cfg",
            "extra_args": ["--Fdeeper_opat", "--device=0"],
        },
    )
    assert sorted(arguments(made, "net.onnx", "out/net")) == sorted(
        [
            *("--framework=5", "--model=net.onnx", "--output=out/net", "--input_shape=x:-1,4;y:-1,4"),
            *("--dynamic_batch_size=1,8", "--precision_mode=allow_mix_precision"),
            *("--fusion_switch_file=/fusion.cfg", "--job_type=2", "--tune_optimization_level=O1"),
            *("--tune_ops_file=/ops.cfg", "--Fdeeper_opat", "--device=0"),
        ]
    )


@pytest.mark.parametrize(("precision", "mode"), [("fp16", "force_fp16"), ("fp32", "must_keep_origin_dtype")])
def test_precision_has_the_name_that_aoe_knows(precision, mode):
    assert f"--precision_mode={mode}" in arguments(recipe(precision=precision), "m", "o")


def test_a_precision_that_aoe_cannot_tune_for_is_refused():
    with pytest.raises(
        ConfigError, match="cannot tune for precision_mode_v2 mixed_hif8; it knows fp16, origin"
    ):
        arguments(recipe(precision_mode_v2="mixed_hif8"), "m", "o")


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("Fdeeper_opat", "not of the form --option"),
        ("--job_type=1", "use the field `job_type`"),
        ("--tune-ops-file=x", "use the field `tune_ops_file`"),
        ("--output=x", "only the knowledge bank is kept"),
        ("--reload", "a folder of its own"),
    ],
)
def test_options_that_are_set_elsewhere_may_not_be_passed_on(argument, message):
    with pytest.raises(ConfigError) as refusal:
        recipe(tune={"job_type": "operator", "extra_args": [argument]})
    assert message in str(refusal.value)


def test_the_bank_goes_where_atc_looks_for_it(tmp_path):
    assert bank_options(recipe(), tmp_path) == {"op_bank_path": str(tmp_path)}
    assert bank_options(recipe(tune={"job_type": "subgraph"}), tmp_path) == {"mdl_bank_path": str(tmp_path)}
    with pytest.raises(ConfigError, match="has no `tune` section"):
        bank_options(recipe(tune=None), tmp_path)


# --- the key ------------------------------------------------------------------------------------


def key(folder, *, soc=SOC, fingerprint="cann", influences=(), **settings):
    return tuning_key(anchored(recipe(**settings), folder), soc, fingerprint, dict(influences))


def test_a_bank_is_not_made_again_for_what_does_not_decide_it(folder):
    (folder / "ops.cfg").write_text("Add")
    tune_section = {"job_type": "operator", "tune_ops_file": "ops.cfg"}
    first = key(folder, tune=tune_section)
    assert first == key(
        folder,
        tune=tune_section | {"timeout_s": 60},
        name="other",
        timeout_s=5,
        extra_args=["--new_option=1"],
        oo_level="O1",
        verify={"min_cosine": 0.5},
        influences={"TUNE_BANK_PATH": "/elsewhere"},
    )


def test_what_decides_a_bank_is_in_its_key(folder):
    keys = [
        key(folder),
        key(folder, tune={"job_type": "subgraph"}),
        key(folder, tune={"job_type": "operator", "tune_optimization_level": "O1"}),
        key(folder, tune={"job_type": "operator", "extra_args": ["--Fdeeper_opat"]}),
        key(folder, precision="fp32"),
        key(folder, inputs={"x": [1, 4], "y": [1, 4]}),
        key(folder, fusion_switch_file="net.onnx"),
        key(folder, soc=resolve_soc("Ascend910B3")),
        key(folder, fingerprint="newer"),
        key(folder, influences={"ASCEND_CUSTOM_OPP_PATH": "/mine"}),
    ]
    (folder / "ops.cfg").write_text("Add")
    with_file = {"job_type": "operator", "tune_ops_file": "ops.cfg"}
    keys.append(key(folder, tune=with_file))
    (folder / "ops.cfg").write_text("Mul")
    keys.append(key(folder, tune=with_file))
    onnx.save(onnx.parser.parse_model(NET.replace("Add", "Sub")), folder / "net.onnx")
    keys.append(key(folder))
    assert len(set(keys)) == len(keys)


def test_a_missing_file_of_operators_is_named(folder):
    with pytest.raises(ConfigError, match=r"tune_ops_file .*gone.cfg cannot be read: No such file"):
        key(folder, tune={"job_type": "operator", "tune_ops_file": "gone.cfg"})


# --- runs ---------------------------------------------------------------------------------------


def tuned(folder, aoe, *, timeout_s=30.0, soc=SOC, **settings):
    scratch = folder / "scratch"
    scratch.mkdir()
    made = anchored(recipe(**settings), folder)
    return tune(made, soc, folder / made.source, scratch, aoe=aoe, timeout_s=timeout_s)


def test_a_run_has_a_folder_and_a_bank_of_its_own(folder, monkeypatch):
    monkeypatch.setenv("TUNE_BANK_PATH", "/elsewhere")
    aoe = program(
        folder / "aoe",
        f'echo "$@" > "$TUNE_BANK_PATH/said"; pwd > "$TUNE_BANK_PATH/cwd"; '
        f'echo "$TE_PARALLEL_COMPILER" > "$TUNE_BANK_PATH/workers"; echo "{FINISHED}"',
    )
    bank = tuned(folder, aoe, num_cpus=3)
    assert bank.parent == folder / "scratch"
    assert (bank / "cwd").read_text().strip() == str(folder / "scratch" / "aoe")
    assert (bank / "workers").read_text() == "3\n"
    said = (bank / "said").read_text().split()
    assert f"--model={folder}/net.onnx" in said
    assert f"--output={folder}/scratch/aoe/net" in said


def test_images_are_preprocessed_in_the_models_own_order(folder):
    aoe = program(
        folder / "aoe",
        'for word in "$@"; do case $word in --insert_op_conf=*) cp "${word#*=}" "$TUNE_BANK_PATH/aipp";; esac; done; '
        f'echo "{FINISHED}"',
    )
    section = {"input": "y", "input_format": "RGB888_U8"}
    bank = tuned(folder, aoe, inputs={"y": [2, 4], "x": [2, 4]}, aipp=[section])
    assert "related_input_rank: 1\n" in (bank / "aipp").read_text()


@pytest.mark.parametrize(
    ("script", "timeout_s", "message"),
    [
        (
            'echo "no device found"; exit 3',
            30,
            "aoe ended with status 3: no device found. Tuning needs a card",
        ),
        ("exit 0", 30, "aoe ended with status 0 and said nothing"),
        ("sleep 60", 0.2, "aoe was stopped after its time limit of 0.2 s. Raise tune.timeout_s"),
        (f'echo "{FINISHED}"', 30, "left no knowledge bank.*Remove `tune`"),
        (
            f'mkdir $TUNE_BANK_PATH/Ascend910A; echo x > $TUNE_BANK_PATH/Ascend910A/op.json; echo "{FINISHED}"',
            30,
            "tuned for Ascend910A, the card that is here. Tune on a node with a card of Ascend310P3",
        ),
    ],
)
def test_a_run_that_tuned_nothing_says_why(folder, script, timeout_s, message):
    told = tuned(folder, program(folder / "aoe", script), timeout_s=timeout_s)
    assert isinstance(told, Diagnosis)
    assert re.search(message, f"{told.cause}. {told.hint}")


def test_a_kept_failure_to_tune_is_news_again_with_another_time_limit(folder, monkeypatch):
    """Its hint says to raise `tune.timeout_s`, so that has to be enough."""
    aoe = program(folder / "aoe", f"echo run >> {folder}/runs; exit 3")
    monkeypatch.setenv("ASCEND_SERVE_AOE", str(aoe))
    store = Store(folder / "store")

    def tune_within(timeout_s):
        wanted = anchored(recipe(tune={"job_type": "operator", "timeout_s": timeout_s}), folder)
        with pytest.raises(BuildFailed, match="aoe ended with status 3"):
            compile_target(wanted, SOC.name, store)
        return len((folder / "runs").read_text().splitlines())

    assert [tune_within(60), tune_within(60), tune_within(90)] == [1, 1, 2]


@pytest.fixture
def emulated_aoe(folder, monkeypatch):
    monkeypatch.setenv("ASCEND_EMULATOR_SOC", "Ascend310P3")
    onnx.save(onnx.parser.parse_model(PRODUCT), folder / "product.onnx")
    return program(folder / "aoe", f'exec "{sys.executable}" -m ascend_emulator.aoe "$@"')


@pytest.mark.parametrize(("job_type", "found"), [("operator", ["Ascend310P3"]), ("subgraph", None)])
def test_the_emulated_aoe_leaves_a_bank_for_its_card(folder, emulated_aoe, job_type, found):
    bank = tuned(folder, emulated_aoe, source="product.onnx", inputs={}, tune={"job_type": job_type})
    left = sorted(path.name for path in bank.iterdir())
    assert left
    assert found is None or left == found


def test_the_emulated_aoe_explains_what_it_refuses(folder, emulated_aoe):
    told = tuned(folder, emulated_aoe, inputs={"x": [2, 4], "z": [2, 4]})
    assert isinstance(told, Diagnosis)
    assert told.code == "E10017"


# --- the program --------------------------------------------------------------------------------


@pytest.fixture
def places(tmp_path, monkeypatch):
    """Every place aoe is looked for, in order, all empty."""
    root, path, scripts = tmp_path / "cann", tmp_path / "path", tmp_path / "venv" / "bin"
    monkeypatch.setenv("ASCEND_HOME_PATH", str(root))
    monkeypatch.setenv("PATH", str(path))
    monkeypatch.delenv("ASCEND_SERVE_AOE", raising=False)
    monkeypatch.setattr(sys, "executable", str(scripts / "python"))
    monkeypatch.setattr(toolchain.sysconfig, "get_path", lambda _: str(scripts))
    return [root / "bin" / "aoe", root / "tools" / "aoe" / "bin" / "aoe", path / "aoe", scripts / "aoe"]


def test_the_places_are_searched_in_order(places):
    for place in reversed(places):
        program(place, "true")
        assert find_aoe() == place


def test_an_explicit_setting_is_the_only_place(places, tmp_path, monkeypatch):
    program(places[0], "true")
    mine = program(tmp_path / "mine" / "aoe-8", "true")
    assert find_aoe(mine) == mine
    monkeypatch.setenv("ASCEND_SERVE_AOE", str(mine))
    assert find_aoe() == mine
    monkeypatch.setenv("ASCEND_SERVE_AOE", str(tmp_path / "gone"))
    with pytest.raises(ToolMissing, match="gone, which is no program"):
        find_aoe()


def test_a_missing_aoe_names_every_place(places):
    with pytest.raises(ToolMissing) as missing:
        find_aoe()
    for word in (
        str(places[0].parents[1]),
        "PATH",
        str(places[3].parent),
        "ASCEND_SERVE_AOE",
        "remove `tune`",
    ):
        assert word in str(missing.value)
