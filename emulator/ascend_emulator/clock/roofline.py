"""The roofline of a SoC: what an execution takes when nobody measured it.

    time = launch + operators x operator
         + max(FLOPs / (compute_efficiency x peak), bytes / (bandwidth_efficiency x bandwidth))

FLOPs and operators (Conv, MatMul, Gemm) are counted in the network at the gear that runs; bytes are the weights once
and every input and output once, since what lies between fused operators stays in the L2 cache.

| parameter | value | rests on |
| --- | --- | --- |
| `peak` | cores x clock x a 16x16x16 cube, two operations per cell | the SoC's platform file (facts/atc_om_soc.md §4.2) |
| `bandwidth` of the 310P | 204.8 GB/s | published for the Atlas 300I Pro (facts §4.3) |
| `bandwidth` of the others | see `_BANDWIDTH_GB_PER_S` | assumed from the kind of memory; nothing measured it |
| `compute_efficiency` | 0.26 | assumed: lets ResNet-50 on an Ascend310P3 take 1.3 ms at gear 1 and 8.0 ms at gear 16, the costs that gear policies are discussed with here (facts/batching_policy.md §4) |
| `operator_us` | 12 | assumed, with the former |
| `launch_us` | 100 | assumed |
| `bandwidth_efficiency` | 0.8 | assumed |
| copies host - card | 10 us + bytes / 12 GB/s | assumed: round numbers of a PCIe card |
| copies on the card | 3 us + bytes / 40 GB/s | assumed |

Every parameter can be set in the JSON of `table`; for anything that is to be believed, bring measured times.
"""  # noqa: E501 - rows of a table

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ascend_emulator.clock.links import Link
from ascend_emulator.soc import Soc

_BANDWIDTH_GB_PER_S = {
    "Ascend310P": 204.8,
    "Ascend310B": 51.2,
    "Ascend910": 1200.0,
    "Ascend910B": 1600.0,
    "Ascend910_93": 1600.0,
    "Ascend350": 1400.0,
    "Ascend950": 1600.0,
}
_BANDWIDTH_ELSEWHERE_GB_PER_S = 25.6
"""The small parts, whose memory nothing describes."""

COPIES = {"h2d": Link.of(10, 12), "d2h": Link.of(10, 12), "local": Link.of(3, 40)}
"""Copy engine -> its link, where no table says otherwise."""


@dataclass(frozen=True)
class Work:
    """What one execution at one gear asks of the card.

    Attributes:
        flops: floating-point operations; a multiply and an add are two.
        operators: matrix operators (Conv, MatMul, Gemm).
        moved_bytes: bytes that go through device memory: weights, inputs and outputs.
    """

    flops: float
    operators: int
    moved_bytes: float = 0.0


@dataclass(frozen=True)
class Roofline:
    """The parameters; the module's table says what each rests on.

    Attributes:
        peak_flops: dense FP16 operations per second.
        bandwidth: bytes per second of device memory.
        compute_efficiency: share of the peak that matrix operators reach, above 0 and at most 1.
        bandwidth_efficiency: share of the bandwidth that is reached, above 0 and at most 1.
        launch_us: what an execution costs before it computes, in microseconds.
        operator_us: what each matrix operator adds, in microseconds.
        copies: copy engine (`h2d`, `d2h`, `local`) -> its link.
    """

    peak_flops: float
    bandwidth: float
    compute_efficiency: float = 0.26
    bandwidth_efficiency: float = 0.8
    launch_us: float = 100.0
    operator_us: float = 12.0
    copies: Mapping[str, Link] = field(default_factory=lambda: dict(COPIES))

    def execute_ns(self, work: Work) -> int:
        """Nanoseconds that one execution takes."""
        compute_s = work.flops / (self.compute_efficiency * self.peak_flops)
        memory_s = work.moved_bytes / (self.bandwidth_efficiency * self.bandwidth)
        fixed_us = self.launch_us + work.operators * self.operator_us
        return int(fixed_us * 1e3 + max(compute_s, memory_s) * 1e9)


def roofline_of(soc: Soc) -> Roofline:
    """The roofline of a SoC with the parameters of the module's table."""
    bandwidth = _BANDWIDTH_GB_PER_S.get(soc.short, _BANDWIDTH_ELSEWHERE_GB_PER_S)
    return Roofline(peak_flops=soc.fp16_tflops * 1e12, bandwidth=bandwidth * 1e9)
