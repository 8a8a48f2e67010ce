"""The Ascend SoCs that `atc` compiles for and that a card can be.

The numbers are those of the public platform files, one per SoC (facts/atc_om_soc.md §4.2). Where a file
states no memory, or one that hardware contradicts, the comment beside the row says where the number comes
from. The Kirin phone parts are left out: their files state neither clock nor memory.
"""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20
GIB = 1 << 30

_CUBE_FLOPS_PER_CYCLE = 2 * 16 * 16 * 16
"""A multiply and an add for each cell of the 16x16x16 cube that every listed AI core has."""


@dataclass(frozen=True, slots=True)
class Soc:
    """One SoC as its platform file describes it.

    Attributes:
        name: what `--soc_version` takes and `acl.get_soc_name()` returns, such as `Ascend310P3`.
        short: family name, such as `Ascend310P`.
        arch: NpuArch; a model loads on a device of the same arch only (facts §4.4).
        ai_cores: AI cores (cube cores where cube and vector are apart).
        vector_cores: vector cores; 0 where the AI core does both.
        ai_cpus: AI CPU cores; 0 where the file states none.
        mhz: clock of the cube in MHz.
        memory_bytes: device memory in bytes.
        l2_bytes: L2 cache in bytes.
    """

    name: str
    short: str
    arch: int
    ai_cores: int
    vector_cores: int
    ai_cpus: int
    mhz: int
    memory_bytes: int
    l2_bytes: int

    @property
    def fp16_tflops(self) -> float:
        """Dense FP16 peak in 10^12 operations per second: cores x clock x a 16x16x16 cube (facts §4.2)."""
        return self.ai_cores * self.mhz * 1e6 * _CUBE_FLOPS_PER_CYCLE / 1e12

    @property
    def arch_type(self) -> str:
        """The platform file's Arch_type, which ATC writes into a model; empty where the file has none."""
        return _ARCH_TYPES.get(self.arch, "")


_ARCH_TYPES = {1001: "3", 2002: "1", 2201: "4", 3002: "2", 3004: "8", 3505: "9"}

_TABLE = (
    Soc("Ascend310P1", "Ascend310P", 2002, 10, 8, 8, 1060, 24_000_000_000, 16 * MIB),
    Soc("Ascend310P3", "Ascend310P", 2002, 8, 7, 7, 1060, 24_000_000_000, 16 * MIB),
    Soc("Ascend310P5", "Ascend310P", 2002, 8, 7, 8, 800, 24_000_000_000, 16 * MIB),
    Soc("Ascend310P7", "Ascend310P", 2002, 8, 7, 8, 550, 24_000_000_000, 16 * MIB),
    Soc("Ascend310B1", "Ascend310B", 3002, 1, 1, 4, 1224, 32 * GIB, 4 * MIB),
    Soc("Ascend310B2", "Ascend310B", 3002, 1, 1, 4, 1224, 32 * GIB, 4 * MIB),  # memory: as Ascend310B1
    Soc("Ascend310B3", "Ascend310B", 3002, 1, 1, 4, 1224, 32 * GIB, 4 * MIB),  # memory: as Ascend310B1
    Soc("Ascend310B4", "Ascend310B", 3002, 1, 1, 4, 500, 8 * GIB, 4 * MIB),  # memory: sold with 4 to 16 GiB
    Soc("Ascend910A", "Ascend910", 1001, 32, 0, 4, 1000, 32 * GIB, 32 * MIB),  # memory: product
    Soc("Ascend910B", "Ascend910", 1001, 30, 0, 6, 900, 32 * GIB, 32 * MIB),  # memory: product
    Soc("Ascend910PremiumA", "Ascend910", 1001, 32, 0, 4, 1220, 32 * GIB, 32 * MIB),  # memory: product
    Soc("Ascend910ProA", "Ascend910", 1001, 32, 0, 4, 1100, 32 * GIB, 32 * MIB),  # memory: product
    Soc("Ascend910ProB", "Ascend910", 1001, 30, 0, 4, 1150, 32 * GIB, 32 * MIB),  # memory: product
    Soc("Ascend910B1", "Ascend910B", 2201, 24, 48, 6, 1850, 64 * GIB, 192 * MIB),
    Soc("Ascend910B2", "Ascend910B", 2201, 24, 48, 6, 1800, 64 * GIB, 192 * MIB),
    Soc("Ascend910B2C", "Ascend910B", 2201, 24, 48, 6, 1800, 64 * GIB, 192 * MIB),  # memory: as Ascend910B2
    Soc("Ascend910B3", "Ascend910B", 2201, 20, 40, 6, 1800, 64 * GIB, 192 * MIB),
    Soc("Ascend910B4", "Ascend910B", 2201, 20, 40, 6, 1500, 32 * GIB, 96 * MIB),
    Soc("Ascend910B4-1", "Ascend910B", 2201, 20, 40, 6, 1500, 64 * GIB, 168 * MIB),  # memory: npu-smi
    Soc("Ascend910_9362", "Ascend910_93", 2201, 20, 40, 6, 1500, 64 * GIB, 168 * MIB),
    Soc("Ascend910_9363", "Ascend910_93", 2201, 20, 40, 6, 1500, 32 * GIB, 168 * MIB),
    Soc("Ascend910_9372", "Ascend910_93", 2201, 20, 40, 6, 1800, 64 * GIB, 192 * MIB),
    Soc("Ascend910_9381", "Ascend910_93", 2201, 24, 48, 6, 1800, 64 * GIB, 192 * MIB),
    Soc("Ascend910_9382", "Ascend910_93", 2201, 24, 48, 6, 1800, 64 * GIB, 192 * MIB),
    Soc("Ascend910_9391", "Ascend910_93", 2201, 24, 48, 6, 1850, 64 * GIB, 192 * MIB),
    Soc("Ascend910_9392", "Ascend910_93", 2201, 24, 48, 6, 1850, 64 * GIB, 192 * MIB),
    Soc("Ascend350_354f", "Ascend350", 3510, 14, 28, 2, 1650, 56 * GIB, 56 * MIB),
    Soc("Ascend350_355e", "Ascend350", 3510, 16, 32, 4, 1650, 64 * GIB, 64 * MIB),
    Soc("Ascend950DT_950x", "Ascend950", 3510, 8, 16, 5, 1650, 24 * GIB, 32 * MIB),
    Soc("Ascend950DT_950y", "Ascend950", 3510, 8, 16, 5, 1650, 16 * GIB, 32 * MIB),
    Soc("Ascend950DT_9571", "Ascend950", 3510, 28, 56, 7, 1650, 144 * GIB, 128 * MIB),
    Soc("Ascend950DT_9572", "Ascend950", 3510, 28, 56, 7, 1650, 96 * GIB, 128 * MIB),
    Soc("Ascend950DT_9573", "Ascend950", 3510, 28, 56, 5, 1650, 126 * GIB, 112 * MIB),  # memory: as 9583
    Soc("Ascend950DT_9574", "Ascend950", 3510, 28, 56, 5, 1650, 84 * GIB, 112 * MIB),
    Soc("Ascend950DT_9575", "Ascend950", 3510, 28, 56, 7, 1650, 96 * GIB, 128 * MIB),
    Soc("Ascend950DT_9576", "Ascend950", 3510, 28, 56, 7, 1650, 64 * GIB, 128 * MIB),
    Soc("Ascend950DT_9577", "Ascend950", 3510, 28, 56, 5, 1650, 84 * GIB, 112 * MIB),
    Soc("Ascend950DT_9578", "Ascend950", 3510, 28, 56, 5, 1650, 56 * GIB, 112 * MIB),
    Soc("Ascend950DT_9581", "Ascend950", 3510, 32, 64, 6, 1650, 144 * GIB, 128 * MIB),
    Soc("Ascend950DT_9581x", "Ascend950", 3510, 32, 64, 6, 1650, 144 * GIB, 128 * MIB),
    Soc("Ascend950DT_9582", "Ascend950", 3510, 32, 64, 6, 1650, 96 * GIB, 128 * MIB),
    Soc("Ascend950DT_9582x", "Ascend950", 3510, 32, 64, 6, 1650, 96 * GIB, 128 * MIB),
    Soc("Ascend950DT_9583", "Ascend950", 3510, 32, 64, 7, 1650, 126 * GIB, 112 * MIB),
    Soc("Ascend950DT_9584", "Ascend950", 3510, 32, 64, 7, 1650, 84 * GIB, 112 * MIB),
    Soc("Ascend950DT_9585", "Ascend950", 3510, 32, 64, 6, 1650, 96 * GIB, 128 * MIB),
    Soc("Ascend950DT_9586", "Ascend950", 3510, 32, 64, 6, 1650, 64 * GIB, 128 * MIB),
    Soc("Ascend950DT_9587", "Ascend950", 3510, 32, 64, 7, 1650, 84 * GIB, 112 * MIB),
    Soc("Ascend950DT_9588", "Ascend950", 3510, 32, 64, 7, 1650, 56 * GIB, 112 * MIB),
    Soc("Ascend950DT_9591", "Ascend950", 3510, 36, 72, 6, 1800, 144 * GIB, 128 * MIB),
    Soc("Ascend950DT_9592", "Ascend950", 3510, 36, 72, 6, 1800, 96 * GIB, 128 * MIB),
    Soc("Ascend950DT_9595", "Ascend950", 3510, 36, 72, 6, 1800, 96 * GIB, 128 * MIB),
    Soc("Ascend950DT_9596", "Ascend950", 3510, 36, 72, 6, 1800, 64 * GIB, 128 * MIB),
    Soc("Ascend950DT_95A1", "Ascend950", 3510, 36, 72, 6, 1800, 144 * GIB, 128 * MIB),
    Soc("Ascend950DT_95A2", "Ascend950", 3510, 36, 72, 6, 1800, 96 * GIB, 128 * MIB),
    Soc("Ascend950PR_950z", "Ascend950", 3510, 4, 8, 5, 1650, 24 * GIB, 16 * MIB),
    Soc("Ascend950PR_9579", "Ascend950", 3510, 28, 56, 7, 1650, 128 * GIB, 128 * MIB),
    Soc("Ascend950PR_957b", "Ascend950", 3510, 28, 56, 5, 1650, 112 * GIB, 112 * MIB),
    Soc("Ascend950PR_957bx", "Ascend950", 3510, 28, 56, 5, 1650, 112 * GIB, 112 * MIB),
    Soc("Ascend950PR_957c", "Ascend950", 3510, 28, 56, 5, 1650, 84 * GIB, 112 * MIB),
    Soc("Ascend950PR_957d", "Ascend950", 3510, 28, 56, 5, 1650, 96 * GIB, 96 * MIB),
    Soc("Ascend950PR_9589", "Ascend950", 3510, 32, 64, 6, 1650, 128 * GIB, 128 * MIB),
    Soc("Ascend950PR_958b", "Ascend950", 3510, 32, 64, 7, 1650, 112 * GIB, 112 * MIB),
    Soc("Ascend950PR_9599", "Ascend950", 3510, 36, 72, 6, 1800, 128 * GIB, 128 * MIB),
    Soc("Ascend031", "Ascend031", 3004, 1, 1, 4, 330, 1 * GIB, 4 * MIB),  # memory: nowhere stated
    Soc("Ascend035", "Ascend035", 3505, 1, 0, 0, 150, 1 * GIB, 0),  # memory: nowhere stated
    Soc("Ascend035A", "Ascend035", 3505, 1, 0, 0, 200, 1 * GIB, 0),  # memory: nowhere stated
    Soc("Ascend035B", "Ascend035", 3505, 1, 0, 0, 200, 1 * GIB, 0),  # memory: nowhere stated
)

SOCS: dict[str, Soc] = {soc.name: soc for soc in _TABLE}
"""Every SoC by its full name. Aliases are not in it; `find_soc` resolves them."""

ALIASES = {"Ascend910": "Ascend910A"}
"""Names that ATC replaces before it looks for the platform file (facts §4.1)."""


def find_soc(name: str) -> Soc:
    """The SoC of that name, which is matched exactly, case included (facts §4.1).

    Args:
        name: a full name or an alias.

    Raises:
        KeyError: no platform file has that name; the key is the name as given.
    """
    return SOCS[ALIASES.get(name, name)]
