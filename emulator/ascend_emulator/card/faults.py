"""What is wrong with a card: the rules it was given (`ascend_emulator/fault_rules.py`), and what they have hit."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from ascend_emulator.codes import RT_DEVICE_SETUP, RT_LOST_DEVICE, RT_MULTI_BIT_ECC, Failure
from ascend_emulator.fault_rules import ON_ENGINES, Effect, Rule, parse_faults


class Hang(Exception):  # noqa: N818 - what becomes of a task, not an error of the emulator
    """The task that raised it never ends."""


@dataclass
class _Armed:
    rule: Rule
    count: int = 0


class Faults:
    """What is wrong with one card; every method may be called from any thread.

    Args:
        number: the card's physical number.
        changed: called after `lost`, `ecc` or `slowdown` may have changed, without a lock held here.

    Attributes:
        number: the card's physical number.
        lost: whether the card is lost.
        ecc: whether its memory has an uncorrectable error.
        slowdown: factor on what its engines do.
    """

    def __init__(self, number: int, changed: Callable[[], None]) -> None:
        self.number = number
        self.lost = False
        self.ecc = False
        self.slowdown = 1.0
        self._changed = changed
        self._armed: list[_Armed] = []
        self._lock = threading.Lock()

    def add(self, text: str) -> None:
        """Let more go wrong.

        Raises:
            Failure: 507033, the text is no list of rules.
        """
        try:
            rules = parse_faults(text)
        except ValueError as error:
            raise Failure(RT_DEVICE_SETUP, f"ascend-emulator: faults: {error}.") from None
        with self._lock:
            for rule in rules:
                if rule.device not in (None, self.number):
                    continue
                if rule.operation:
                    self._armed.append(_Armed(rule))
                else:
                    self._enter(rule.effect, rule.factor)
        self._changed()

    def clear(self) -> None:
        """Take back every rule for operations and the slow-down; a lost or damaged card stays so."""
        with self._lock:
            self._armed.clear()
            self.slowdown = 1.0
        self._changed()

    def restore(self) -> None:
        """Give a lost or damaged card back; rules for operations stay."""
        with self._lock:
            self.lost = self.ecc = False
        self._changed()

    def rules(self) -> list[str]:
        """The rules that may still hit an operation, as text."""
        with self._lock:
            return [str(armed.rule) for armed in self._armed]

    def meet(self, operation: str) -> None:
        """Let an operation happen, or not.

        Args:
            operation: key of `OPERATIONS`.

        Raises:
            Failure: it fails: with the rule's code, 507010 on a card that is lost, 507054 on a damaged one.
            Hang: it never ends.
        """
        if not (self._armed or self.ecc or self.lost):
            return
        with self._lock:
            rule = self._rule_for(operation)
            entered = rule is not None and rule.effect in (Effect.LOST, Effect.ECC)
            if rule is not None and entered:
                self._enter(rule.effect, 1.0)
        if entered:
            self._changed()
        if self.lost:
            raise Failure(RT_LOST_DEVICE, "EE9999: the card is lost (an injected fault).")
        if self.ecc and operation in ON_ENGINES:
            raise Failure(
                RT_MULTI_BIT_ECC, "EZ9999: HBM MULTI BIT ECC, Uncorrectable ECC (an injected fault)."
            )
        if rule is None:
            return
        if rule.effect is Effect.HANG:
            raise Hang
        raise Failure(rule.code, f"EZ9999: this {operation} fails because of the fault rule {rule}.")

    def _rule_for(self, operation: str) -> Rule | None:
        hit = None
        for armed in self._armed:
            if armed.rule.operation == operation:
                armed.count += 1
                if hit is None and armed.rule.hits(armed.count):
                    hit = armed.rule
        self._armed = [armed for armed in self._armed if not armed.rule.spent(armed.count)]
        return hit

    def _enter(self, effect: Effect, factor: float) -> None:
        if effect is Effect.LOST:
            self.lost = True
        elif effect is Effect.ECC:
            self.ecc = True
        else:
            self.slowdown = factor
