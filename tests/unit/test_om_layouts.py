"""Every shape that the file around a model takes, and what is read of it."""

import contextlib
import runpy
import struct
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ascend_serve.artifacts.om.facts import GENERATIONS, Library, SubModel
from ascend_serve.artifacts.om.file import read_om_file
from ascend_serve.artifacts.om.reading import read_om
from ascend_serve.errors import ConfigError, NotAnOm

pytestmark = pytest.mark.unit

w = runpy.run_path(str(Path(__file__).with_name("om_writer.py")))
INPUTS, OUTPUTS = [("x", 0, (4, 3))], [("y", 0, (4, 2))]
SUMMARY = w["summary"](INPUTS, OUTPUTS)
DEFINITION = w["model_def"]([("soc_version", "Ascend310P3")])
PARTITIONS = [(8, SUMMARY), (0, DEFINITION), (1, b"weights"), (3, b"k"), (2, b"t")]


@given(
    version=st.sampled_from([1, 2]),
    big=st.booleans(),
    with_summary=st.booleans(),
    subs=st.lists(st.lists(st.binary(max_size=9), min_size=1, max_size=4), max_size=3),
)
def test_any_number_of_sub_models_in_any_header_and_table(version, big, with_summary, subs):
    big = big and version == 2
    subs = subs if version == 2 else []
    partitions = PARTITIONS[not with_summary :]
    further = [[(2, content) for content in contents] for contents in subs]
    om = read_om(w["container"]([partitions, *further], version=version, big=big))
    generation = 1 if version == 1 else 2 if not big else 4 if with_summary else 3
    assert (om.layout.generation, om.layout.table) == (generation, "big" if big else "small")
    assert om.layout.sub_models[0].partitions[-3:] == (
        ("WEIGHTS_DATA", 7),
        ("TBE_KERNELS", 1),
        ("TASK_INFO", 1),
    )
    assert [part.partitions for part in om.layout.sub_models[1:]] == [
        tuple(("TASK_INFO", len(content)) for content in contents) for contents in subs
    ]
    assert om.dynamic == bool(subs)
    assert om.soc == "Ascend310P3"


@pytest.mark.parametrize("align", [32, 512])
@pytest.mark.parametrize("big", [True, False])
def test_partitions_with_gaps_are_found_by_their_offsets(big, align):
    om = read_om(w["container"]([PARTITIONS], big=big, align=align, kind=4))
    assert om.layout.sub_models == (
        SubModel(
            "the model",
            (
                *(("MODEL_INOUT_INFO", len(SUMMARY)), ("MODEL_DEF", len(DEFINITION))),
                *(("WEIGHTS_DATA", 7), ("TBE_KERNELS", 1), ("TASK_INFO", 1)),
            ),
        ),
    )
    assert om.layout.model_type == "lite model"
    with pytest.raises(ConfigError, match="lite model"):
        om.model_spec("net")


def test_a_model_for_nano_chips_has_no_graph():
    om = read_om(w["container"]([[(8, SUMMARY), (20, b"desc"), (21, b"sqe")]], align=32, kind=4))
    assert [(t.name, t.dims) for t in (*om.inputs, *om.outputs)] == [("x", (4, 3)), ("y", (4, 2))]
    assert om.soc == ""


def test_offsets_are_ignored_where_the_sizes_fill_the_file():
    data = bytearray(w["container"]([PARTITIONS], big=True))
    for entry in range(len(PARTITIONS)):
        struct.pack_into("<Q", data, 256 + 8 + 24 * entry + 8, 1 << 40)
    assert read_om(bytes(data)) == read_om(w["container"]([PARTITIONS], big=True))


def test_early_files_of_version_2_have_zeros_after_the_number_of_models():
    data = w["container"]([PARTITIONS[1:]], version=2, big=False)
    assert data[181:256] == bytes(75)
    om = read_om(data)
    assert (om.layout.generation, om.layout.header_version, om.dynamic) == (2, 2, False)


def test_the_first_generation_has_no_table():
    om = read_om(w["generation0"]())
    assert GENERATIONS[om.layout.generation].startswith("DDK 1.x")
    assert (om.name, om.layout.table, om.layout.sub_models) == ("vanilla", "none", ())
    assert [(t.name, t.dtype, t.dims, t.format, t.size) for t in om.inputs] == [
        ("data", 0, (4, 3, 8, 8), "NCHW", 3072)
    ]
    assert [(t.name, t.dtype, t.dims) for t in om.outputs] == [("fc:0", 0, (4, 10, 1, 1))]
    assert (om.memory_size, om.weight_size, om.resources.streams) == (4096, 512, 2)
    with pytest.raises(ConfigError, match=r"DDK 1\.x"):
        om.model_spec("net")


def test_a_bundle_lists_its_models():
    om = read_om(w["bundle"](w["gear_model"](), w["static_model"](INPUTS, OUTPUTS, name="other")))
    assert [inner.name for inner in om.contained] == ["m", "other"]
    assert (om.layout.model_type, om.soc, om.inputs) == ("bundle", "Ascend310P3", ())
    assert om.memory_size == 4096
    assert om.weight_size == 8 + len(b"weights!")
    with pytest.raises(ConfigError, match="is a bundle"):
        om.model_spec("net")


def test_a_bundle_of_several_socs_names_none():
    om = read_om(
        w["bundle"](*(w["static_model"](INPUTS, OUTPUTS, soc) for soc in ("Ascend310P3", "Ascend910B1")))
    )
    assert om.soc == ""
    assert [inner.soc for inner in om.contained] == ["Ascend310P3", "Ascend910B1"]


def test_bundles_in_bundles_end_somewhere():
    data = w["gear_model"]()
    for _ in range(40):
        data = w["bundle"](data)
    with pytest.raises(NotAnOm, match="nested"):
        read_om(data)


def test_a_bundle_without_a_model_is_refused():
    with pytest.raises(NotAnOm, match="without a model"):
        read_om(w["bundle"]())


def flow_model(*parts):
    """A flow model of parts (name, kind, `.om` or other bytes)."""
    listed = [
        (7, w["field"](1, name) + w["field"](2, kind) + w["field"](3, data)) for name, kind, data in parts
    ]
    return w["container"]([[(0, w["model_def"]()), (6, w["field"](1, "flow")), *listed]], kind=3)


def test_a_flow_model_lists_its_parts():
    om = read_om(flow_model(("a", "NPU", w["gear_model"]()), ("b", "UDF", b"a library")))
    assert om.layout.model_type == "flow model"
    assert [part.what for part in om.layout.sub_models] == [
        "the model",
        "flow sub-model 'a' (NPU)",
        "flow sub-model 'b' (UDF)",
    ]
    assert [inner.soc for inner in om.contained] == ["Ascend310P3"]
    with pytest.raises(ConfigError, match="flow model"):
        om.model_spec("net")


def test_libraries_and_their_host():
    content = w["libraries"](("liboptiling.so", "customize", b"12345"), ("libother.so", "", b""))
    definition = w["model_def"](
        [("host_env_os", "linux"), ("host_env_cpu", "aarch64"), ("opp_version", "7.6")]
    )
    om = read_om(w["container"]([[(0, definition), (5, content)]], host=1, dynamic=1))
    assert om.libraries == (Library("liboptiling.so", "customize", 5), Library("libother.so", "", 0))
    assert (om.origin.host_os, om.origin.host_cpu, om.origin.bound_to_host) == ("linux", "aarch64", True)
    assert om.dynamic


@given(st.binary(max_size=60))
def test_libraries_of_another_layout_are_passed_over(content):
    om = read_om(w["container"]([[(0, DEFINITION), (5, content)]]))
    assert om.layout.sub_models[0].partitions[1] == ("SO_BINS", len(content))


LARGE = {
    "bundle": w["bundle"](w["gear_model"](), w["static_model"](INPUTS, OUTPUTS)),
    "flow": flow_model(("a", "NPU", w["gear_model"]())),
    "aligned": w["container"]([PARTITIONS], align=32),
    "generation 0": w["generation0"](),
    "sub-models": w["container"]([PARTITIONS, [(0, DEFINITION)], [(2, b"t")]]),
    "old": w["container"]([PARTITIONS[1:]], version=1, big=False),
    "libraries": w["container"]([[(0, DEFINITION), (5, w["libraries"](("a", "b", b"c")))]]),
}


@pytest.mark.parametrize("kind", LARGE)
@given(data=st.data())
def test_every_truncation_is_refused(kind, data):
    whole = LARGE[kind]
    with pytest.raises(NotAnOm):
        read_om(whole[: data.draw(st.integers(0, len(whole) - 1))])


@pytest.mark.parametrize("kind", LARGE)
@given(data=st.data())
def test_changed_bytes_are_read_or_refused(kind, data):
    changed = bytearray(LARGE[kind])
    for _ in range(data.draw(st.integers(1, 3))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(NotAnOm):
        read_om(bytes(changed), deep=True)


@given(st.integers(0, 255), st.integers(0, 0xFFFFFFFF))
def test_no_count_is_believed_past_the_bytes_there_are(place, count):
    """A number of billions anywhere in the summary or the table costs no time and no memory."""
    data = bytearray(w["gear_model"]())
    struct.pack_into("<I", data, 256 + 4 * place, count)
    with contextlib.suppress(NotAnOm):
        read_om(bytes(data))


def test_gigabytes_of_weights_cost_nothing(tmp_path):
    """A sparse file of 2 GiB: the weights are neither read nor copied."""
    size = 2 << 30
    whole = w["container"]([[*PARTITIONS[:2], (1, b"")]])
    data = bytearray(whole)
    struct.pack_into("<Q", data, 184, len(whole) - 256 + size)
    struct.pack_into("<Q", data, 256 + 8 + 24 * 2 + 16, size)
    path = tmp_path / "large.om"
    with path.open("wb") as file:
        file.write(data)
        file.truncate(len(whole) + size)
    before = time.process_time()
    om = read_om_file(path, deep=True)
    assert time.process_time() - before < 0.5
    assert (om.weight_size, om.layout.size) == (size, len(whole) + size)
