"""From the model's logits to a table a person can read; shared by the HTTP client and the handle client."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

LABELS = tuple((Path(__file__).resolve().parent / "labels.txt").read_text().split())
"""The class that each logit stands for, in order."""

_NAMED_LABEL = re.compile(r"digit(\d)_")


@dataclass(frozen=True)
class Answer:
    """What the model says of one picture, and what the file's name says.

    `probability` is the softmax of the winning logit, 0..1; `named` is None where the name tells no label.
    """

    path: Path
    label: str
    probability: float
    named: str | None

    @property
    def wrong(self) -> bool:
        """Whether the name tells another label than the model."""
        return self.named is not None and self.named != self.label


def softmax(logits: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Probabilities of each row of `[N, classes]` logits; computed in float64 for any input dtype."""
    wide = logits.astype(np.float64)
    powers = np.exp(wide - wide.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def read_answers(paths: Sequence[Path], logits: npt.NDArray[Any]) -> list[Answer]:
    """Pair pictures with their answers.

    Args:
        paths: the picture files, in the order in which they were sent. A name that begins with `digit3_` says
            that the picture shows a 3.
        logits: `[N, 10]`, any float dtype.

    Raises:
        ValueError: logits that are not one row of 10 per picture.
    """
    if logits.shape != (len(paths), len(LABELS)):
        raise ValueError(
            f"the server's logits have shape {list(logits.shape)}, but {len(paths)} pictures of "
            f"{len(LABELS)} classes need {[len(paths), len(LABELS)]}; is it another model?"
        )
    answers = []
    for path, row in zip(paths, softmax(logits), strict=True):
        winner = int(row.argmax())
        match = _NAMED_LABEL.match(path.name)
        answers.append(Answer(path, LABELS[winner], float(row[winner]), match[1] if match else None))
    return answers


def print_table(answers: Sequence[Answer]) -> bool:
    """Print one line per picture and a last one that counts.

    Returns:
        True when no answer contradicts its file's name.
    """
    width = max(len(str(answer.path)) for answer in answers)
    print(f"{'file':{width}}  class  probability  label")
    for answer in answers:
        verdict = "-" if answer.named is None else f"WRONG, is {answer.named}" if answer.wrong else "right"
        print(f"{answer.path!s:{width}}  {answer.label:>5}  {answer.probability:11.4f}  {verdict}")
    named = [answer for answer in answers if answer.named is not None]
    right = sum(not answer.wrong for answer in named)
    print(f"{len(answers)} answered; {right} of {len(named)} labelled ones right")
    return right == len(named)
