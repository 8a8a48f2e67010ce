"""A policy that waits, for tests of the planner."""

from ascend_serve.batching.policy import WAIT, PadUp, View


class Patient(PadUp):
    """Waits for a full gear until the oldest row is old enough, as `optimal` does with `may_wait`."""

    @property
    def patience_ms(self) -> float:
        return 300.0

    def choose(self, view: View) -> int:
        full = view.rows >= view.costs.best_gear(view.gears)
        return view.gears.cover(view.rows) if full or view.oldest_ms >= self.patience_ms else WAIT
