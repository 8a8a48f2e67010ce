from __future__ import annotations

import pytest
from ascend_emulator.soc import GIB, SOCS, find_soc

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("name", "arch", "ai_cores", "mhz", "tflops"),
    [
        ("Ascend310P1", 2002, 10, 1060, 86.8),
        ("Ascend310P3", 2002, 8, 1060, 69.5),
        ("Ascend310B4", 3002, 1, 500, 4.1),
        ("Ascend910A", 1001, 32, 1000, 262),
        ("Ascend910B", 1001, 30, 900, 221),
        ("Ascend910B1", 2201, 24, 1850, 364),
        ("Ascend910B3", 2201, 20, 1800, 295),
        ("Ascend910_9362", 2201, 20, 1500, 246),
        ("Ascend950PR_9599", 3510, 36, 1800, 531),
        ("Ascend950DT_950y", 3510, 8, 1650, 108),
        ("Ascend031", 3004, 1, 330, 2.7),
    ],
)
def test_the_published_numbers(name: str, arch: int, ai_cores: int, mhz: int, tflops: float) -> None:
    soc = find_soc(name)
    assert (soc.arch, soc.ai_cores, soc.mhz) == (arch, ai_cores, mhz)
    assert soc.fp16_tflops == pytest.approx(tflops, rel=0.01)


def test_memory_of_the_common_parts() -> None:
    assert find_soc("Ascend310P3").memory_bytes == 24_000_000_000
    assert find_soc("Ascend910B4").memory_bytes == 32 * GIB
    assert find_soc("Ascend910B4-1").memory_bytes == 64 * GIB  # the ini file says half of it, npu-smi this


def test_the_alias_is_the_first_generation() -> None:
    assert find_soc("Ascend910") is SOCS["Ascend910A"]
    assert "Ascend910" not in SOCS


@pytest.mark.parametrize("name", ["ascend310p3", "Ascend310", "Ascend310P", "", "Ascend310P3 "])
def test_names_match_exactly(name: str) -> None:
    with pytest.raises(KeyError):
        find_soc(name)


def test_every_row_is_usable() -> None:
    assert len(SOCS) == 67
    for name, soc in SOCS.items():
        assert soc.name == name
        assert soc.short.startswith("Ascend")
        assert soc.ai_cores > 0
        assert soc.mhz > 0
        # The card maps its memory in pages.
        assert soc.memory_bytes % 4096 == 0
        assert soc.memory_bytes >= GIB


def test_one_architecture_per_family() -> None:
    families: dict[str, set[int]] = {}
    for soc in SOCS.values():
        families.setdefault(soc.short, set()).add(soc.arch)
    assert all(len(archs) == 1 for archs in families.values())
