"""What a card asks of the time model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ascend_emulator.clock.links import Link
from ascend_emulator.clock.roofline import Roofline, Work, roofline_of
from ascend_emulator.clock.table import Table, read_table, time_of
from ascend_emulator.codes import RT_DEVICE_SETUP, Failure
from ascend_emulator.settings import Settings


@dataclass(frozen=True)
class Timing:
    """The time model of one card.

    Attributes:
        roofline: for what the table does not list.
        table: measured times.
    """

    roofline: Roofline
    table: Table = field(default_factory=Table)

    def has_table(self, model: str) -> bool:
        """Whether measured times of that model are known."""
        return self.table.of(model) is not None

    def link(self, way: str) -> Link:
        """The link of a copy engine: `h2d`, `d2h` or `local`."""
        return self.table.copies.get(way) or self.roofline.copies[way]

    def execute_ns(self, model: str, gear: Sequence[int], work: Callable[[], Work]) -> int:
        """Nanoseconds that one execution takes.

        Args:
            model: the model's name, as in the .om.
            gear: the gear that runs; empty for a model without gears.
            work: what it asks of the card; called only when no table lists the model.
        """
        times = self.table.of(model)
        return self.roofline.execute_ns(work()) if times is None else int(time_of(times, tuple(gear)))


def read_timing(settings: Settings) -> Timing | None:
    """The time model that the settings ask for; None in `functional`.

    Raises:
        Failure: 507033, the table of times cannot be read or is of another form.
    """
    if settings.timing == "functional":
        return None
    roofline = roofline_of(settings.soc)
    if not settings.times:
        return Timing(roofline)
    try:
        table = read_table(Path(settings.times))
    except (OSError, ValueError) as error:
        text = f"ascend-emulator: ASCEND_EMULATOR_TIMES is {settings.times!r}: {error}"
        raise Failure(RT_DEVICE_SETUP, text) from error
    return Timing(table.adjusted(roofline), table)
