from __future__ import annotations

import contextlib
import struct

import pytest
from ascend_emulator.om import OmError, OmFile, TensorInfo, read_om, write_om
from ascend_emulator.om_bundle import read_bundle, write_bundle
from hypothesis import given
from hypothesis import strategies as st

pytestmark = pytest.mark.unit


def model(name: str) -> bytes:
    return write_om(
        OmFile(
            name=name,
            soc_version="Ascend310P3",
            atc_cmdline="",
            atc_version="0.1.0",
            toolchain="ascend-emulator 0.1.0",
            inputs=(TensorInfo("x", 0, 2, (1,), 4),),
            outputs=(TensorInfo("y:0:y", 0, 2, (1,), 4),),
            gears=None,
            gear_input_dims=(),
            gear_output_dims=(),
            input_order=(),
            dynamic=False,
            host="",
            aipps=(),
            options=(),
            memory_size=0,
            weight_size=0,
            network=name.encode(),
        )
    )


MODELS = (model("first"), model("second"))


def test_the_layout_byte_by_byte() -> None:
    data = write_bundle(MODELS)
    assert data[:12] == b"IMOD" + struct.pack("<II", 256, 0x20000000)
    assert data[82] == 5
    assert struct.unpack_from("<I", data, 156) == (2,)
    # Other than in an .om, the header's length counts the header, and offsets count from the table's start.
    assert struct.unpack_from("<Q", data, 184) == (len(data),)
    assert struct.unpack_from("<I", data, 256) == (3,)
    rows = [struct.unpack_from("<I4xQQ", data, 264 + 24 * place) for place in range(3)]
    assert rows[0] == (25, 8 + 3 * 24, 8)
    assert rows[1] == (24, 8 + 3 * 24 + 8, len(MODELS[0]))
    assert rows[2] == (24, 8 + 3 * 24 + 8 + len(MODELS[0]), len(MODELS[1]))
    assert [data[256 + at : 256 + at + size] for _, at, size in rows] == [bytes(8), *MODELS]


@given(st.lists(st.sampled_from(MODELS), min_size=1, max_size=4))
def test_models_come_back_in_order(models: list[bytes]) -> None:
    found = read_bundle(write_bundle(models))
    assert found == tuple(models)
    assert [read_om(data).network for data in found] == [read_om(data).network for data in models]


def test_a_bundle_without_models_is_neither_written_nor_read() -> None:
    with pytest.raises(OmError, match="at least one"):
        write_bundle([])
    data = bytearray(write_bundle(MODELS))
    for place in (1, 2):
        struct.pack_into("<I", data, 264 + 24 * place, 25)
    with pytest.raises(OmError, match="no model"):
        read_bundle(bytes(data))


def test_a_single_model_is_no_bundle_and_a_bundle_no_model() -> None:
    with pytest.raises(OmError, match="bundle is type 5"):
        read_bundle(MODELS[0])
    with pytest.raises(OmError, match="a bundle of 2 models"):
        read_om(write_bundle(MODELS))


@given(st.integers(0, len(write_bundle(MODELS)) - 1))
def test_a_bundle_that_is_cut_off_is_refused(size: int) -> None:
    with pytest.raises(OmError):
        read_bundle(write_bundle(MODELS)[:size])


@given(st.data())
def test_damage_gives_an_om_error_or_models(data: st.DataObject) -> None:
    whole = bytearray(write_bundle(MODELS))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, 400))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(OmError):
        assert read_bundle(bytes(whole))
