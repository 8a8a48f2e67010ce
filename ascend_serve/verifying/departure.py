"""Finds the first operator at which a compiled model departs from its source.

The source is copied with tensors from within as further outputs, the copy is compiled with the same recipe for the
same SoC, and both are run on the same inputs. Each round looks at up to 16 tensors between the inputs and the
earliest tensor that is known to depart, so a network of n operators takes about log17(n) builds, and one more that
looks at the inputs of the operator found: the answer is an operator whose output departs and whose inputs do not.

What to know when reading an answer (as users of CANN's own msaccucmp do):

- A tensor that is given out cannot be fused away, so the copy may compute otherwise than the model itself. When the
  departure is gone in the copy, that is the answer: fusion, or an option about outputs, makes it.
- Tensors from within are judged by cosine similarity and relative error, and by infinities. Absolute bounds and top 1
  belong to the outputs; what stands within has other sizes and meanings.
- The bodies of If, Loop and Scan are not looked into; such an operator is one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ascend_serve.artifacts.store import Store
from ascend_serve.compiling.build import compile_target
from ascend_serve.compiling.scratch import scratch
from ascend_serve.errors import ConfigError
from ascend_serve.runtime.trial import Gear
from ascend_serve.spec.recipe import CompileRecipe
from ascend_serve.spec.verification import Tolerance
from ascend_serve.verifying.comparison import OutputReport, departures
from ascend_serve.verifying.onnx_graph import OnnxGraph
from ascend_serve.verifying.reference import onnx_source
from ascend_serve.verifying.verification import Verification, plain, verify

_PER_ROUND = 16
_LEAST_COSINE = 0.99

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Departure:
    """The first operator that departs.

    Attributes:
        node: its name; empty when the model names it not.
        op_type: its type, such as `Exp`.
        outputs: what it gives, first the tensor that departs.
        inputs: what it reads of other operators, none of which departs; weights and inputs of the model are left out.
        unseen: what it reads and could not be looked at, since nothing tells its type or number of axes: what departs
            may have begun there.
        gear: where it was seen.
        builds: how many copies were compiled to find it.
    """

    node: str
    op_type: str
    outputs: tuple[OutputReport, ...]
    inputs: tuple[OutputReport, ...]
    unseen: tuple[str, ...]
    gear: Gear
    builds: int

    def to_json(self) -> dict[str, Any]:
        """The finding as plain values."""
        return asdict(self) | {
            "outputs": [plain(report) for report in self.outputs],
            "inputs": [plain(report) for report in self.inputs],
            "unseen": list(self.unseen),
            "gear": list(self.gear),
        }


@dataclass(frozen=True, slots=True)
class NoDeparture:
    """No operator can be named.

    Attributes:
        reason: why, in words.
        builds: how many copies were compiled.
    """

    reason: str
    builds: int

    def to_json(self) -> dict[str, Any]:
        """The finding as plain values."""
        return asdict(self)


def where_to_look(verification: Verification) -> tuple[str, Gear]:
    """The output and gear to begin at: the first output that departs at the largest gear where one does.

    Raises:
        ConfigError: none does.
    """
    bad = [
        (report.gear, output.name)
        for report in verification.gears
        for output in report.outputs
        if any(True for _ in departures(output, verification.tolerance))
    ]
    if not bad:
        raise ConfigError(f"{verification.name}: no output departs, so there is no operator to look for")
    gear, output = max(bad, key=lambda found: math.prod(found[0]))
    return output, gear


def find_departure(
    recipe: CompileRecipe,
    soc: str,
    output: str,
    gear: Gear,
    *,
    tolerance: Tolerance | None = None,
    inputs: Path | None = None,
    atc: str | Path | None = None,
    say: Say = lambda _: None,
) -> Departure | NoDeparture:
    """Look for the first operator that departs, on the way to an output that does.

    Args:
        recipe: what to compile, with absolute paths.
        soc: the target, which is the device's.
        output: name of the output, a tensor of the source.
        gear: at which it departs, as `Verification` tells it; empty for a model of fixed shapes.
        tolerance: its cosine similarity and relative error decide what departs, a cosine of 0.99 when it has neither;
            the recipe's `verify` when None, else that of `Tolerance`.
        inputs: as for `verify`.
        atc: the program to compile with; None looks for it.
        say: is told of each round in one line.

    Raises:
        ConfigError: the output is no tensor of the source, or the source is a SavedModel that the recipe freezes.
        AscendServeError: as `compiling.build.compile_target` and `verify`.
    """
    if recipe.framework_of() == "saved_model" and recipe.saved_model == "freeze":
        raise ConfigError(
            f"recipe '{recipe.name}' compiles a frozen graph, and tensors are given out by copies of ONNX "
            "models: search with `saved_model: onnx`"
        )
    with scratch() as folder:
        graph = OnnxGraph(onnx_source(recipe, folder))
        tensor = graph.tensor_of(output)
        if tensor is None or graph.node_of(tensor) is None:
            raise ConfigError(f"output '{output}' is made by no operator of {graph.path}")
        given = tolerance or recipe.verify or Tolerance()
        data = inputs or (Path(given.inputs) if given.inputs else None)
        search = _Search(recipe, soc, gear, graph, folder, _within(given), data, atc)
        return search.find(tensor, say)


def _within(given: Tolerance) -> Tolerance:
    """The bounds for tensors from within."""
    cosine = given.min_cosine
    if cosine is None and given.max_rel_error is None:
        cosine = _LEAST_COSINE
    return Tolerance(min_cosine=cosine, max_rel_error=given.max_rel_error)


class _Search:
    """One search: what was measured so far, and how to measure more."""

    def __init__(
        self,
        recipe: CompileRecipe,
        soc: str,
        gear: Gear,
        graph: OnnxGraph,
        folder: Path,
        bounds: Tolerance,
        inputs: Path | None,
        atc: str | Path | None,
    ) -> None:
        self._recipe = recipe
        self._soc = soc
        self._gear = gear
        self._graph = graph
        self._folder = folder
        self._bounds = bounds
        self._inputs = inputs
        self._atc = atc
        self._builds = 0
        self._reports: dict[str, OutputReport] = {}

    def find(self, culprit: str, say: Say) -> Departure | NoDeparture:
        """Narrow down from a tensor that departs to the operator that began it."""
        left = self._unknown(self._graph.behind(culprit)[:-1])
        while True:
            last_look = not left
            chosen = self._unknown(self._read_by(culprit)) if last_look else _spread(left, _PER_ROUND)
            if not chosen and self._builds:
                return self._departure(culprit)
            say(
                f"build {self._builds + 1}: '{culprit}' departs, looking at {len(chosen)} of "
                f"{max(len(left), len(chosen))} tensors before it"
            )
            self._measure([*chosen, culprit])
            if not self._departs(culprit):
                return NoDeparture(self._why_gone(culprit), self._builds)
            earliest = next((name for name in chosen if self._departs(name)), None)
            if earliest is None:
                # What a good tensor was made from is taken to be good; the last look tells if that was wrong.
                good = {name for fine in chosen for name in self._graph.behind(fine)}
                left = [name for name in left if name not in good]
                continue
            culprit = earliest
            before = self._graph.behind(earliest)[:-1]
            if last_look:
                # It was taken to be good because something made from it is; so that proves nothing here.
                left = self._unknown(before)
                continue
            closer = set(before)
            good = {name for fine in closer.intersection(chosen) for name in self._graph.behind(fine)}
            closer -= good
            left = [name for name in left if name in closer]

    def _why_gone(self, culprit: str) -> str:
        if self._builds > 1:
            return (
                f"'{culprit}' departed while fewer tensors were given out beside it, and no longer does: an operator "
                "that ATC fused with its neighbours makes the difference (`fusion_switch_file` switches fusions off)"
            )
        return (
            f"'{culprit}' is within the bounds on cosine similarity and relative error when tensors from within are "
            "given out: either fusion, output_type or out_nodes makes the difference, or it builds up over many "
            "operators, none of which departs by itself"
        )

    def _unknown(self, tensors: Sequence[str]) -> list[str]:
        """Of these, what can be measured and was not yet."""
        return [name for name in self._graph.presentable(tensors) if name not in self._reports]

    def _read_by(self, tensor: str) -> list[str]:
        node = self._graph.node_of(tensor)
        assert node is not None, "only tensors that operators make are looked at"
        made = set(self._graph.behind(tensor))
        return [name for name in self._graph.read_by(node) if name in made]

    def _departs(self, tensor: str) -> bool:
        return any(True for _ in departures(self._reports[tensor], self._bounds))

    def _departure(self, culprit: str) -> Departure:
        node = self._graph.node_of(culprit)
        assert node is not None, "only tensors that operators make are looked at"
        read = self._read_by(culprit)
        others = [name for name in node.output if name != culprit and name in self._reports]
        return Departure(
            node.name,
            node.op_type,
            tuple(self._reports[name] for name in (culprit, *others)),
            tuple(self._reports[name] for name in read if name in self._reports),
            tuple(name for name in read if name not in self._reports),
            self._gear,
            self._builds,
        )

    def _measure(self, tensors: Sequence[str]) -> None:
        """Compile a copy that gives these tensors, run it beside the source, and keep what was found."""
        self._builds += 1
        folder = self._folder / f"round{self._builds}"
        folder.mkdir()
        copy = folder / "copy.onnx"
        self._graph.copy(copy, also=tensors, shapes={})
        recipe = self._recipe.model_copy(
            update={
                "source": str(copy),
                "framework": "onnx",
                # Options about outputs name the ones there were, or change what is to be looked at.
                "out_nodes": (),
                "output_type": None,
                "is_output_adjust_hw_layout": (),
                "output": None,
                "verify": None,
                "tune": None,
            }
        )
        artifact = compile_target(recipe, self._soc, Store(folder / "store"), atc=self._atc)
        found = verify(
            recipe, artifact.fetch(), tolerance=self._bounds, inputs=self._inputs, gears=[self._gear]
        )
        by_tensor = {self._graph.tensor_of(report.name): report for report in found.gears[0].outputs}
        self._reports |= {name: replace(by_tensor[name], name=name) for name in tensors}


def _spread(names: Sequence[str], count: int) -> list[str]:
    """At most `count` of the names, as evenly spread as can be, with the last one."""
    if len(names) <= count:
        return list(names)
    return [names[(place + 1) * len(names) // count - 1] for place in range(count)]
