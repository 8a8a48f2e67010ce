"""Faults on demand: what of a card goes wrong, and when.

`ASCEND_EMULATOR_FAULTS` and the control API take the same text, one or more rules with `;` between them. A rule is
an operation that fails, or a state the card is in:

    malloc:nth=3                  the third device allocation finds no room (207001)
    malloc_host:nth=2             the same for pinned host memory
    load                          the first load of a model fails (545001)
    copy:nth=2,code=507013        the second queued copy or fill ends with that code
    execute:nth=5,code=507015     the fifth execution does
    execute:nth=5,hang            it never ends: its stream stands still until it is aborted, where the SoC can, or
                                  its device is reset
    execute:nth=100,lost          the card is lost when its hundredth execution starts
    execute:every=10              the first execution fails and each tenth after it, for ever
    execute:nth=7,times=3         the seventh, eighth and ninth
    lost                          the card is lost from the start
    ecc                           its memory has an uncorrectable error: copies and executions end with 507054
    slow:factor=2.5               everything on its engines takes 2.5 times as long

`device=2` in a rule keeps it to that physical card. Operations are counted by each rule for itself, over all
clients of the card, from the moment the rule is there: from the card's start, or from its injection. Copies,
fills and executions count when the engine starts them, and synchronous copies, which no engine does, count not at
all. Where two rules hit the same operation, the first decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from ascend_emulator.codes import (
    GE_LOAD_MODEL,
    RT_COPY_FAULT,
    RT_CORE_EXCEPTION,
    RT_OUT_OF_MEMORY,
)

OPERATIONS = {
    "malloc": RT_OUT_OF_MEMORY,
    "malloc_host": RT_OUT_OF_MEMORY,
    "load": GE_LOAD_MODEL,
    "copy": RT_COPY_FAULT,
    "execute": RT_CORE_EXCEPTION,
}
"""Operations that can fail -> the code they fail with when the rule names none."""

ON_ENGINES = ("copy", "execute")
"""Operations that an engine does."""

_LARGEST_FACTOR = 1e6
_LARGEST_NUMBER = 10**9


class Effect(Enum):
    """What becomes of the operation, or of the card."""

    FAIL = "code"
    HANG = "hang"
    LOST = "lost"
    ECC = "ecc"
    SLOW = "slow"


@dataclass(frozen=True)
class Rule:
    """One fault.

    Attributes:
        operation: key of `OPERATIONS`; empty for a state that the card is in.
        effect: what happens.
        code: what the operation ends with; 0 unless the effect is `FAIL`.
        nth: first operation that it hits, counted from 1.
        every: distance to the next one.
        times: how many it hits; None for all.
        factor: of `SLOW`, else 1.
        device: physical card it is for; None for every card.
    """

    operation: str
    effect: Effect
    code: int = 0
    nth: int = 1
    every: int = 1
    times: int | None = 1
    factor: float = 1.0
    device: int | None = None

    def hits(self, count: int) -> bool:
        """Whether the operation of that number, counted from 1, is one it is for."""
        steps, rest = divmod(count - self.nth, self.every)
        return steps >= 0 and rest == 0 and (self.times is None or steps < self.times)

    def spent(self, count: int) -> bool:
        """Whether it hits nothing after the operation of that number."""
        return self.times is not None and count >= self.nth + self.every * (self.times - 1)

    def __str__(self) -> str:
        """The rule as it is written; `parse_faults` reads it back."""
        options = [f"device={self.device}"] if self.device is not None else []
        if not self.operation:
            if self.effect is Effect.SLOW:
                options.insert(0, f"factor={self.factor!r}")
            return ":".join(filter(None, (self.effect.value, ",".join(options))))
        options.insert(0, f"code={self.code}" if self.effect is Effect.FAIL else self.effect.value)
        if self.times is not None:
            options.insert(0, f"times={self.times}")
        return f"{self.operation}:nth={self.nth},every={self.every}," + ",".join(options)


def parse_faults(text: str) -> tuple[Rule, ...]:
    """The rules in a text; none when it is empty.

    Raises:
        ValueError: with the part that is wrong and the rule that it breaks.
    """
    return tuple(_parse_rule(part.strip()) for part in text.split(";") if part.strip())


def _parse_rule(text: str) -> Rule:
    head, colon, tail = text.partition(":")
    subject = head.strip()
    options = _options(text, tail) if colon else {}
    device = _number(text, options, "device", None, smallest=0)
    if subject in OPERATIONS:
        effect = _effect(text, subject, options)
        code = _number(text, options, "code", None, smallest=100_000)
        every = _number(text, options, "every", None)
        times = _number(text, options, "times", None if every else 1)
        rule = Rule(
            operation=subject,
            effect=effect,
            code=code or (OPERATIONS[subject] if effect is Effect.FAIL else 0),
            nth=_number(text, options, "nth", 1) or 1,
            every=every or 1,
            times=times,
            device=device,
        )
    elif subject in ("lost", "ecc", "slow"):
        factor = _factor(text, options) if subject == "slow" else 1.0
        rule = Rule("", Effect(subject), factor=factor, device=device)
    else:
        known = ", ".join((*OPERATIONS, "lost", "ecc", "slow"))
        raise ValueError(f"{text!r} must start with one of {known}")
    if options:
        raise ValueError(f"{text!r} has {', '.join(sorted(options))}, which means nothing for {subject}")
    return rule


def _options(text: str, tail: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for word in tail.split(","):
        name, _, value = (part.strip() for part in word.partition("="))
        if not name or name in options:
            raise ValueError(f"{text!r} must list each option once, as name=value with ',' between them")
        options[name] = value
    return options


def _effect(text: str, subject: str, options: dict[str, str]) -> Effect:
    named = [effect for effect in Effect if effect is not Effect.SLOW and effect.value in options]
    if len(named) > 1:
        raise ValueError(f"{text!r} must have one effect, not {' and '.join(e.value for e in named)}")
    effect = named[0] if named else Effect.FAIL
    if effect is not Effect.FAIL:
        if subject not in ON_ENGINES:
            raise ValueError(f"{text!r}: {effect.value} is for {' and '.join(ON_ENGINES)} only")
        if options.pop(effect.value):
            raise ValueError(f"{text!r}: {effect.value} takes no value")
    return effect


def _number(
    text: str, options: dict[str, str], name: str, default: int | None, smallest: int = 1
) -> int | None:
    if name not in options:
        return default
    value = options.pop(name)
    largest = 999_999 if name == "code" else _LARGEST_NUMBER
    if not (value.isascii() and value.isdigit() and len(value) < 20 and smallest <= int(value) <= largest):
        raise ValueError(f"{text!r}: {name} must be a whole number from {smallest} to {largest}")
    return int(value)


def _factor(text: str, options: dict[str, str]) -> float:
    value = options.pop("factor", "")
    try:
        factor = float(value)
    except ValueError:
        factor = 0.0
    if not 1 <= factor <= _LARGEST_FACTOR:
        raise ValueError(f"{text!r}: factor must be a number from 1 to {_LARGEST_FACTOR:g}")
    return factor
