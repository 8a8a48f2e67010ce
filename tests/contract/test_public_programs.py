"""Public pyACL programs, unmodified: each runs when a variable names a checkout of its repository.

- ASCEND_TEST_HICANN_GE: `hicann/ge`
- ASCEND_TEST_HICANN_OAM_TOOLS: `hicann/oam-tools`
- ASCEND_TEST_ASCEND_SAMPLES: `Ascend/samples`
- ASCEND_TEST_ORANGEPI_AIPRO: `79laowang/orangePi-AiPro`

Their models are on servers or are built with other tools; the tests compile models with the same inputs and outputs
from ONNX, whose results are known.
"""

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.contract.tools import installed_atc

pytestmark = pytest.mark.contract

_TIMEOUT_S = 120
_IMAGES = 3

Floats = np.ndarray[Any, np.dtype[np.float64]]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20)


# --- hicann/ge -------------------------------------------------------------------------------------

_GE_SOURCE = "examples/offline_compile_run/python/src"


def _binary_model(folder: Path, kind: str, *options: str) -> Path:
    """A model of one node: z = input_x (kind) input_y, all float32 [2, 3]."""
    from onnx import TensorProto, helper

    names = ["input_x", "input_y"]
    return compiled(
        folder,
        kind.lower(),
        [helper.make_node(kind, names, ["z"], name="only")],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 3]) for name in names],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, [2, 3])],
        {},
        "--input_format=ND",
        *options,
    )


def test_ge_add_model(tmp_path: Path) -> None:
    """`hicann/ge`, run_add_model.py: two inputs, the default context, dims of the output."""
    source = checkout("ASCEND_TEST_HICANN_GE", _GE_SOURCE)
    _binary_model(tmp_path, "Add").rename(tmp_path / "add_sample.om")
    printed = ran(source / "single_model/run_add_model.py", cwd=tmp_path, paths=[source])
    assert numbers(printed.partition("Output[1]:")[2]) == [11, 22, 33, 44, 55, 66]


def test_ge_bundle_model(tmp_path: Path, emulator: None) -> None:
    """`hicann/ge`, run_bundle_model.py: two models in one file, each described and executed by its own number."""
    from ascend_emulator.om_bundle import write_bundle

    source = checkout("ASCEND_TEST_HICANN_GE", _GE_SOURCE)
    models = [_binary_model(tmp_path, kind).read_bytes() for kind in ("Add", "Mul")]
    (tmp_path / "bundle_sample.om").write_bytes(write_bundle(models))
    printed = ran(source / "bundle_model/run_bundle_model.py", cwd=tmp_path, paths=[source])
    sums, products = (numbers(part.partition("[Info]")[0]) for part in printed.split("Output[1]:")[1:])
    assert sums == [11, 22, 33, 44, 55, 66]
    assert products == [10, 40, 90, 160, 250, 360]


# --- hicann/oam-tools ------------------------------------------------------------------------------


def test_oam_tools_mlp(tmp_path: Path, rng: np.random.Generator) -> None:
    """`hicann/oam-tools`, infer.py: 20 executions of four layers with GELU, for an Ascend910B3."""
    from math import erf

    from onnx import TensorProto, helper

    source = checkout(
        "ASCEND_TEST_HICANN_OAM_TOOLS", "experiment/task-book/msprof_experience_demo/03_api_pyAcl/src"
    )
    nodes: list[Any] = []
    weights: dict[str, Any] = {}
    name = "x"
    rows: Floats = np.ones((1, 1024))
    for layer in range(4):
        weight = rng.standard_normal((1024, 1024)).astype(np.float32) / 32
        weights |= {f"w{layer}": weight, f"root{layer}": np.float32(2**0.5), f"one{layer}": np.float32(1)}
        weights[f"half{layer}"] = np.float32(0.5)
        steps = ["MatMul", "Div", "Erf", "Add", "Mul", "Mul"]
        product, scaled, bent, raised, wide, last = (f"{step}{layer}_{i}" for i, step in enumerate(steps))
        inputs = [
            [name, f"w{layer}"],
            [product, f"root{layer}"],
            [scaled],
            [bent, f"one{layer}"],
            [product, raised],
            [wide, f"half{layer}"],
        ]
        outputs = [product, scaled, bent, raised, wide, last]
        nodes += [
            helper.make_node(step, taken, [given], name=given)
            for step, taken, given in zip(steps, inputs, outputs, strict=True)
        ]
        name = last
        rows = rows @ weight.astype(np.float64)
        rows *= (np.vectorize(erf)(rows / 2**0.5) + 1) / 2
    om = compiled(
        tmp_path,
        "tiny_mlp",
        nodes,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1024])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 1024])],
        weights,
        "--input_shape=x:32,1024",
        soc="Ascend910B3",
        opset=13,
    )
    printed = ran(
        source / "infer.py",
        om,
        cwd=tmp_path,
        ASCEND_EMULATOR_NODE="a910b3",
        ASCEND_EMULATOR_SOC="Ascend910B3",
        ASCEND_VISIBLE_DEVICES="7",  # means something to a container runtime, and nothing to acl
    )
    shown = re.search(r"output\[:3\]=\[(.*)\], shape_elems=32768", printed)
    assert shown, printed
    np.testing.assert_allclose(numbers(shown[1]), rows[0, :3], rtol=2e-2, atol=1e-2)  # computed in float16
    assert printed.splitlines()[-1].startswith("[pyacl] 资源已释放")


# --- Ascend/samples --------------------------------------------------------------------------------

_ACLLITE_DRIVER = """
import sys
import numpy as np
import acl
import constants
from acllite_image import AclLiteImage
from acllite_model import AclLiteModel
from acllite_resource import AclLiteResource

resource = AclLiteResource()
resource.init()
picture = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
there = AclLiteImage(picture, 4, 4).copy_to_dvpp()
back = np.zeros_like(picture)
assert acl.rt.memcpy(back.ctypes.data, back.nbytes, there.data(), back.nbytes, 2) == 0
print("picture", (back == picture).all())
x = np.arange(32, dtype=np.float32).reshape(4, 8)
for load_type in (0, 1):
    model = AclLiteModel(sys.argv[1], load_type)
    for _ in range(2):
        result, = model.execute([x])
    np.save(f"{load_type}.npy", result)
"""


def test_acllite(om_files: dict[str, Path], tmp_path: Path) -> None:
    """`Ascend/samples`, acllite: models from a file and from memory; everything is released in `__del__`."""
    pytest.importorskip("PIL")
    library = checkout("ASCEND_TEST_ASCEND_SAMPLES", "python/common/acllite")
    driver = tmp_path / "driver.py"
    driver.write_text(_ACLLITE_DRIVER)
    printed = ran(driver, om_files["static"], cwd=tmp_path, paths=[library])
    assert "picture True" in printed
    assert "Release acl resource success" in printed
    weights = np.load(om_files["weights"])
    expected = np.maximum(np.arange(32).reshape(4, 8) @ weights["w"], 0) + weights["b"]
    for load_type in (0, 1):
        np.testing.assert_allclose(np.load(tmp_path / f"{load_type}.npy"), expected, rtol=1e-4)


_CLASSIFICATION = "python/level2_simple_inference/1_classification"


def test_async_classification(tmp_path: Path, rng: np.random.Generator) -> None:
    """`Ascend/samples`, resnet50_async: executions in a stream, results read in callbacks of a reporting thread."""
    from onnx import TensorProto, helper

    source = checkout(
        "ASCEND_TEST_ASCEND_SAMPLES", f"{_CLASSIFICATION}/resnet50_async_imagenet_classification/src"
    )
    images = _images(tmp_path, rng)
    weight = (rng.standard_normal((3, 1000)) / 40).astype(np.float32)
    om = compiled(
        tmp_path,
        "resnet50",
        [
            *_mean_colour_nodes("data", "logits"),
            helper.make_node("Softmax", ["logits"], ["prob"], name="prob"),
        ],
        [helper.make_tensor_value_info("data", TensorProto.FLOAT, [1, 3, 224, 224])],
        [helper.make_tensor_value_info("prob", TensorProto.FLOAT, [1, 1000])],
        {"weight": weight},
        "--input_format=NCHW",
        "--input_fp16_nodes=data",
        "--output_type=FP32",
    )
    printed = ran(source / "acl_net.py", "--model_path", om, "--images_path", images, cwd=tmp_path)
    assert "run finish!!!" in printed
    assert "release source stage success" in printed
    assert not re.search("error|fail", printed, re.IGNORECASE)
    blocks = top_fives(printed)
    assert len(blocks) == 4  # --execute_times
    names = [name for name in os.listdir(images) if name.endswith(".png")]
    for turn, block in enumerate(blocks):
        picture = _pixels(images / names[turn % len(names)], (256, 256))[16:240, 16:240, ::-1]
        colour = (picture.astype(np.float16) - np.array([104, 117, 123], np.float16)).mean(
            (0, 1), dtype=np.float64
        )
        check_top_five(block, softmax(colour @ weight))


_MEANS = (123, 117, 104)


def _dynamic_hw(tmp_path: Path, rng: np.random.Generator) -> tuple[Path, Path, Path, Floats]:
    """The program, its model with the gears 112, 224 and 448, a folder of images, and the model's weights."""
    from onnx import TensorProto, helper

    source = checkout("ASCEND_TEST_ASCEND_SAMPLES", f"{_CLASSIFICATION}/resnet50_imagenet_dynamic_hw/src")
    images = _images(tmp_path, rng)
    weight = (rng.standard_normal((3, 1001)) / 40).astype(np.float32)
    config = tmp_path / "aipp.cfg"
    config.write_text(
        "aipp_op {\n aipp_mode: static\n input_format: RGB888_U8\n csc_switch: false\n rbuv_swap_switch: false\n"
        + "".join(f" mean_chn_{channel}: {mean}\n" for channel, mean in enumerate(_MEANS))
        + "}\n"
    )
    om = compiled(
        tmp_path,
        "tf_resnet50",
        _mean_colour_nodes("Placeholder", "logits"),
        [helper.make_tensor_value_info("Placeholder", TensorProto.FLOAT, [1, 3, "h", "w"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 1001])],
        {"weight": weight},
        "--input_format=NCHW",
        "--input_shape=Placeholder:1,3,-1,-1",
        "--dynamic_image_size=112,112;224,224;448,448",
        f"--insert_op_conf={config}",
        "--output_type=FP32",
    )
    return source / "acl_net.py", om, images, weight.astype(np.float64)


# Memory that the C library takes from one piece with room behind it, instead of a mapping for each large block.
_ROOM_BEHIND = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TOP_PAD_": str(1 << 20)}


@pytest.mark.parametrize("size", [448, 224])
def test_dynamic_image_size(size: int, tmp_path: Path, rng: np.random.Generator) -> None:
    """`Ascend/samples`, resnet50_imagenet_dynamic_hw: a gear for the image size, and pixels as the input.

    At a smaller gear the program copies as many bytes as the largest has, which is more than its picture holds. That
    works where the memory behind the picture is mapped.
    """
    program, om, images, weight = _dynamic_hw(tmp_path, rng)
    arguments = ("--model_path", om, "--images_path", images, "--h", size, "--w", size)
    printed = ran(program, *arguments, cwd=tmp_path, **_ROOM_BEHIND)
    assert "*****run finish******" in printed
    assert "Resources released successfully." in printed
    shown = [Path(line[len("images:") :]) for line in printed.splitlines() if line.startswith("images:")]
    blocks = top_fives(printed)
    assert len(blocks) == len(shown) == _IMAGES
    for path, block in zip(shown, blocks, strict=True):
        colour = _pixels(path, (size, size), tenth=True).mean((0, 1)) - _MEANS
        check_top_five(block, softmax(colour @ weight))


def test_a_copy_beyond_a_picture_is_a_copy_or_a_code(tmp_path: Path, rng: np.random.Generator) -> None:
    """The same, with whatever is behind the picture: the copy is made or refused, and never ends the process."""
    program, om, images, _ = _dynamic_hw(tmp_path, rng)
    arguments = ("--model_path", om, "--images_path", images, "--h", 224, "--w", 224)
    done = started(program, *arguments, cwd=tmp_path)
    if done.returncode == 0:
        assert len(top_fives(done.stdout)) == _IMAGES
    else:
        assert re.search(r"acl\.rt\.memcpy failed ret=\d+", done.stderr), done.stderr


# --- 79laowang/orangePi-AiPro ----------------------------------------------------------------------


def test_a_program_that_was_never_run(tmp_path: Path) -> None:
    """`79laowang/orangePi-AiPro`, acl_minimal_example.py: it reads constants that acl does not have."""
    source = checkout("ASCEND_TEST_ORANGEPI_AIPRO", "examples")
    printed = ran(source / "acl_minimal_example.py", cwd=tmp_path)
    assert "AttributeError" in printed


# --- checkouts, models, images, processes ----------------------------------------------------------


def checkout(variable: str, folder: str) -> Path:
    """A folder of the checkout that a variable names; without the variable the test is skipped."""
    root = os.environ.get(variable)
    if not root:
        pytest.skip(f"{variable} names no checkout")
    found = Path(root).resolve() / folder
    assert found.is_dir(), f"{variable}={root} has no {folder}"
    return found


def compiled(
    folder: Path,
    name: str,
    nodes: Sequence[Any],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    weights: dict[str, Any],
    *options: str,
    soc: str | None = None,
    opset: int = 17,
) -> Path:
    """Compile a graph with `atc` into `folder/name.om`."""
    import acl
    import onnx
    from onnx import helper, numpy_helper

    atc = installed_atc()
    constants = [numpy_helper.from_array(np.asarray(value), key) for key, value in weights.items()]
    graph = helper.make_graph(nodes, name, inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.save(model, folder / f"{name}.onnx")
    command = [
        atc,
        "--framework=5",
        f"--model={folder / name}.onnx",
        f"--output={folder / name}",
        f"--soc_version={soc or acl.get_soc_name()}",
        *options,
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=folder, timeout=_TIMEOUT_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / f"{name}.om"


def _mean_colour_nodes(source: str, target: str) -> list[Any]:
    """A picture's mean colour times `weight`."""
    from onnx import helper

    return [
        helper.make_node("GlobalAveragePool", [source], ["pooled"], name="pool"),
        helper.make_node("Flatten", ["pooled"], ["colour"], name="flatten"),
        helper.make_node("MatMul", ["colour", "weight"], [target], name="classify"),
    ]


def _images(folder: Path, rng: np.random.Generator) -> Path:
    """A folder of PNG files of different colours."""
    image = pytest.importorskip("PIL.Image")
    images = folder / "images"
    images.mkdir()
    for number in range(_IMAGES):
        noise = rng.integers(0, 40, (300, 320, 3)) + rng.integers(0, 215, 3)
        image.fromarray(noise.astype(np.uint8)).save(images / f"{number}.png")
    return images


def _pixels(path: Path, size: tuple[int, int], *, tenth: bool = False) -> np.ndarray[Any, Any]:
    """An image at a size; with `tenth`, without the tenth at each edge that the program cuts off."""
    from PIL import Image

    with Image.open(path) as image:
        # The program takes the tenth of the height from the left and that of the width from above.
        left, top = (image.height // 10, image.width // 10) if tenth else (0, 0)
        box = (left, top, image.width - top, image.height - left) if tenth else None
        return np.array(image.crop(box).resize(size))


def softmax(logits: Floats) -> Floats:
    raised = np.exp(logits - logits.max())
    shares: Floats = raised / raised.sum()
    return shares


def top_fives(printed: str) -> list[list[tuple[int, float]]]:
    """Class and probability of each line under each heading."""
    blocks = printed.split("top5 inference results:")[1:]
    return [
        [(int(n), float(p)) for n, p in re.findall(r"^\[(\d+)\]: (\S+)$", block, re.M)] for block in blocks
    ]


def check_top_five(shown: list[tuple[int, float]], expected: Floats) -> None:
    """The classes shown are the likeliest, as far as float16 can tell."""
    assert len(shown) == 5
    np.testing.assert_allclose([p for _, p in shown], expected[[n for n, _ in shown]], rtol=5e-2)
    assert min(p for _, p in shown) > np.sort(expected)[-6] * 0.95


def numbers(text: str) -> list[float]:
    """The numbers in the brackets that a text begins with."""
    return [float(number) for number in re.findall(r"-?\d+\.?\d*(?:e[+-]?\d+)?", text)]


def started(
    program: Path, *arguments: object, cwd: Path, paths: Sequence[Path] = (), **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, with `paths` searched for modules."""
    searched = os.pathsep.join([*map(str, paths), *filter(None, [os.environ.get("PYTHONPATH")])])
    # They are as their authors left them: what strict mode finds there (most of them leak) is not this suite's to mend.
    mine = {
        name: value for name, value in os.environ.items() if not name.startswith("ASCEND_EMULATOR_STRICT")
    }
    return subprocess.run(
        [sys.executable, "-B", str(program), *map(str, arguments)],
        env={**mine, "PYTHONPATH": searched, "PYTHONIOENCODING": "utf-8", **environment},
        capture_output=True,
        text=True,
        encoding="utf-8",
        cwd=cwd,
        timeout=_TIMEOUT_S,
        check=False,
    )


def ran(program: Path, *arguments: object, **how: Any) -> str:
    """What a program printed and logged, which ended with 0."""
    done = started(program, *arguments, **how)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
