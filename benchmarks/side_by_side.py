"""All servers side by side: the same model on the same kind of emulated card, under the same loads, in one run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from benchmarks import plots, sides
from benchmarks.ceiling_rounds import Ceiling, ceilings
from benchmarks.figures import Spread, table
from benchmarks.node import COSTS_MS, ROOT, Node
from benchmarks.quiet import FOREIGN_CORES, Kept, interleave
from benchmarks.results import path_of, write
from benchmarks.rivals.environment import RivalsMissingError, rivals_python
from benchmarks.rounds import (
    LIMIT_PER_S,
    SLO_MS,
    Bench,
    Demand,
    Round,
    bursts_at,
    closed,
    poisson_at,
)
from benchmarks.sides import Cast, Side
from benchmarks.stage import staged
from benchmarks.workloads import WORKLOADS, Workload

POLICIES = ("optimal", "pad_up", "step_down", "min_cost", "fixed_wait", "fixed")
SHARES = (0.2, 0.5, 0.8, 0.95)
CLIENTS = (1, 16, 64, 128)
_PICTURE_MOST_MS = 2000.0
Rounds = Mapping[tuple[Side, Demand], Kept[Round]]


@dataclass(frozen=True, slots=True)
class Programme:
    """How much is compared.

    Attributes:
        name: in the results' file names.
        workloads: sizes of a row.
        demands: loads that every side is put under.
        policies: of ours.
        waits_ms: of `@serve.batch` on the fast data path as Ray sets it.
        tuned_waits_ms: of `@serve.batch` beside ours, with our settings of Serve.
    """

    name: str
    workloads: tuple[str, ...]
    demands: tuple[Demand, ...]
    policies: tuple[str, ...]
    waits_ms: tuple[float, ...]
    tuned_waits_ms: tuple[float, ...]


BRIEF = Programme("bench", ("150KB",), (*map(closed, CLIENTS), poisson_at(0.8)), ("optimal",), (5.0,), ())
FULL = Programme(
    "bench-full",
    ("150KB", "4KB"),
    (*map(closed, CLIENTS), *map(poisson_at, SHARES), *map(bursts_at, SHARES)),
    POLICIES,
    (0.0, 5.0),
    (5.0,),
)


def full_cast(
    node: Node,
    work: Workload,
    policies: Sequence[str],
    waits_ms: Sequence[float],
    tuned_waits_ms: Sequence[float],
    *,
    accounted: bool = False,
) -> Cast:
    """Every rival that can be had here, and ours.

    Args:
        node: of this run.
        work: what is served.
        policies: of ours.
        waits_ms: of `@serve.batch` on the fast data path as Ray sets it.
        tuned_waits_ms: of `@serve.batch` beside ours.
        accounted: also ours with `accounting: serve`.
    """
    cast = Cast()
    sides.add_plain(cast, node, work)
    sides.add_stock(cast, node, work, waits_ms=waits_ms)
    sides.add_fast(
        cast, node, work, policies=policies, waits_ms=tuned_waits_ms, by_hand=True, accounted=accounted
    )
    sides.add_fastapi(cast, node, work)
    try:
        python = rivals_python()
    except RivalsMissingError as error:
        cast.absent.update({"litserve": str(error), "mosec": str(error)})
    else:
        sides.add_litserve(cast, python, work)
        sides.add_mosec(cast, python, work)
    return cast


def compare(node: Node, programme: Programme, *, rounds: int, most: int, seconds: float) -> None:
    """Run the comparison, print its tables, and write results and pictures.

    Args:
        node: the private node of this run.
        programme: how much is compared.
        rounds: quiet rounds of each side under each load.
        most: passes at most, so that a busy machine ends, too.
        seconds: length of one round.

    Raises:
        RuntimeError: a server did not start or gave a wrong answer.
    """
    for name in programme.workloads:
        work = WORKLOADS[name](node)
        print(f"\n# side by side: {work.name} a row; device ms {COSTS_MS}, at most {LIMIT_PER_S:.0f} rows/s")
        client = ceilings(node, work, CLIENTS, seconds)
        print(ceiling_table(client))
        cast = full_cast(node, work, programme.policies, programme.waits_ms, programme.tuned_waits_ms)
        for side in cast.sides:
            print(f"  {side.name:26} {side.told}")
        for missing, cause in cast.absent.items():
            print(f"  {missing:26} not measured: {cause}")
        print(flush=True)
        with staged(cast.plans, cast.sides, node) as stage:
            bench = Bench(stage, work, seconds)
            pairs = [(side, demand) for demand in programme.demands for side in cast.sides]
            kept = interleave(pairs, measured(bench), rounds=rounds, most=most)
        for demand in programme.demands:
            print(f"\n## {work.name}, {demand.name}\n")
            print(demand_table(kept, cast.sides, demand), flush=True)
        _keep(f"{programme.name}-{name}", work, cast, programme, kept, client)


def measured(bench: Bench) -> Callable[[tuple[Side, Demand], int], tuple[Round, float]]:
    """`interleave`'s way to measure a side under a demand."""

    def measure(pair: tuple[Side, Demand], number: int) -> tuple[Round, float]:
        seen = bench.measure(*pair, number)
        return seen, seen.foreign_cores

    return measure


def ceiling_table(client: Sequence[Ceiling]) -> str:
    """What the load's client can do against a server that does nothing."""
    rows = [
        (str(one.connections), f"{one.answers_per_s:.0f}", f"{one.client_us:.0f}", f"{one.server_us:.0f}")
        for one in client
    ]
    head = ("the client against a trivial server, connections", "answers/s", "client CPU us", "server CPU us")
    return table(head, rows)


def demand_table(kept: Rounds, shown: Iterable[Side], demand: Demand) -> str:
    """Sides under one load: medians of the rounds that count, with least and most."""
    head = ("", "of limit", "p50 ms", "p99 ms", f"good within {SLO_MS:g} ms %", "CPU us", "busy %", "padding %",
            "client us", "rounds", "dropped")  # fmt: skip
    return table(head, [_row(side, kept[side, demand]) for side in shown])


def _row(side: Side, mine: Kept[Round]) -> tuple[str, ...]:
    def of(value: Callable[[Round], float], digits: int) -> str:
        return Spread.of([value(one) for one in mine.rounds]).show(digits)

    return (
        side.name,
        of(lambda one: one.limit_share, 2),
        of(lambda one: one.p50_ms, 1),
        of(lambda one: one.p99_ms, 1),
        of(lambda one: 100 * one.good_share, 0),
        of(lambda one: one.server_us, 0),
        of(lambda one: 100 * one.busy, 0),
        of(lambda one: 100 * one.padding, 0),
        of(lambda one: one.client_us, 0),
        f"{len(mine.rounds)}{'' if mine.trusted else ' noisy'}",
        str(mine.dropped),
    )


def _keep(
    name: str, work: Workload, cast: Cast, programme: Programme, kept: Rounds, client: Sequence[Ceiling]
) -> None:
    written = write(
        name,
        {
            "row_bytes": work.row_bytes,
            "slo_ms": SLO_MS,
            "foreign_cores_at_most": FOREIGN_CORES,
            "sides": {side.name: side.told for side in cast.sides},
            "absent": cast.absent,
            "client_ceiling": client,
            "rounds": as_rows(kept.values()),
        },
    )
    print(f"\nall rounds: {written.relative_to(ROOT)}")
    title = f"{work.name} a request, device t = {COSTS_MS} ms"
    points = {
        side.name: {
            demand.connections: Spread.of([one.answers_per_s for one in kept[side, demand].rounds])
            for demand in programme.demands
            if not demand.share
        }
        for side in cast.sides
    }
    picture = path_of(f"{name}-throughput", ".png")
    plots.throughput(picture, title, points, LIMIT_PER_S)
    print(f"picture: {picture.relative_to(ROOT)}")
    at = poisson_at(0.8)
    quantiles = {side.name: _middle(kept[side, at].rounds).quantiles_ms for side in cast.sides}
    picture = path_of(f"{name}-latency", ".png")
    plots.latency(picture, f"{title}; {at.name} of its limit", quantiles, _PICTURE_MOST_MS)
    print(f"picture: {picture.relative_to(ROOT)}", flush=True)


def as_rows(kept: Iterable[Kept[Round]]) -> list[dict[str, object]]:
    """All rounds as a result keeps them, and of each whether it counts."""
    return [
        {**asdict(one), "pass": number, "counts": counts}
        for mine in kept
        for number, one, counts in mine.all_rounds
    ]


def _middle(rounds: Sequence[Round]) -> Round:
    """The round with the median p99."""
    return sorted(rounds, key=lambda one: one.p99_ms)[len(rounds) // 2]
