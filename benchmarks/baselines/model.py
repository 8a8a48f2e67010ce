"""What a rival is told of the model. Needs nothing, so that any environment can import it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

MOSEC_MODEL = "BENCH_MODEL"
"""Environment variable by which mosec's workers, which it starts anew, get the words of a model."""


@dataclass(frozen=True)
class Model:
    """What a rival is told of the model: one input, one output, compiled with batch gears.

    Attributes:
        path: the `.om`.
        gears: its gears, ascending, with commas between them.
        row_bytes: bytes of one row of the input.
        output_row_bytes: bytes of one row of the output.
    """

    path: str
    gears: str
    row_bytes: int
    output_row_bytes: int

    @property
    def largest(self) -> int:
        """The largest gear."""
        return int(self.gears.split(",")[-1])

    def words(self) -> list[str]:
        """Itself as words of a command line; `of_words` reads them."""
        return [str(value) for value in asdict(self).values()]

    @classmethod
    def of_words(cls, words: Sequence[str]) -> Model:
        """Read what `words` wrote."""
        path, gears, row_bytes, output_row_bytes = words
        return cls(path, gears, int(row_bytes), int(output_row_bytes))
