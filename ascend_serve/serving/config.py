"""The `args:` of an application: what a user may write in a Serve file, closed and validated.

Unknown keys fail with the nearest known one, units are in the names, and nothing is unlimited by accident.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from ascend_serve.batching.policy import Policy, policy_named
from ascend_serve.errors import ConfigError
from ascend_serve.runtime.measuring import LEAST_SLOTS
from ascend_serve.spec.model import ModelSpec
from ascend_serve.spec.padding import PaddedLength
from ascend_serve.spec.soc import resolve_soc
from ascend_serve.spec.text import nearest

MIB = 1024 * 1024
_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BatchingConfig(_Closed):
    """How waiting rows become batches.

    Attributes:
        policy: `optimal` runs the gear that keeps the mean latency least at the present load; `pad_up`, `step_down`,
            `min_cost`, `fixed_wait` and `fixed` are there to be compared with it (see batching/policy.py). While the
            device is busy, what fills the best gear is sealed whatever the policy; only `fixed_wait` closes its
            batches by itself. With an `in_flight` of 2 or more the next batch is chosen shortly before the running one
            is expected to end, so that its copy-in overlaps.
        objective: what `optimal` minimises: the `mean` latency, or the `tail` beyond `slo_ms`.
        tail_weight: how much more a request costs `optimal` once it has waited longer than `slo_ms`, for the objective
            `tail`.
        slo_ms: milliseconds within which a request is to be answered, for the objective `tail`.
        may_wait: lets `optimal` leave the device idle for a fuller batch.
        wait_ms: milliseconds after which `fixed_wait` closes a batch that is not full.
        max_batch_size: rows at which `fixed_wait` closes a batch; default the largest gear.
        gear: the gear of `fixed`; default the largest.
        slots: preallocated rooms for a batch; two or more let the next batch be packed and copied while one runs.
            Default: as many as the measured stages need to keep the device busy; with an `in_flight` above 2 exactly
            that many.
        in_flight: batches that may be on the device at once; default one in each slot, which is also the most. 1 never
            sets a gear while another batch of the model runs (see runtime/QUIRKS.md).
        max_queued_rows: rows that may wait in a replica before it answers 429; default four times the most rows of
            one request.
        priority_levels: levels that requests may name, 1 the most urgent; nothing starves. A request over HTTP or gRPC
            that names another, or none, has the middle one, as with Triton.
        default_deadline_ms: milliseconds after which the answer to a request that names no deadline is of no use.
        deferred: keeps a batch open for as long as its deadlines allow, which saves device time at low load; not with
            `fixed_wait`, whose batches close by its own timer.
        padded: axes of requests that may be padded up to a compiled size and are cut off again.
        journal: file to which each replica appends what happened, for `ascend-serve replay`; the replica's id is put
            before its suffix.
    """

    policy: Literal["optimal", "pad_up", "step_down", "min_cost", "fixed_wait", "fixed"] = "optimal"
    objective: Literal["mean", "tail"] | None = None
    tail_weight: float | None = Field(default=None, gt=0)
    slo_ms: float | None = Field(default=None, gt=0)
    may_wait: bool | None = None
    wait_ms: float | None = Field(default=None, ge=0)
    max_batch_size: int | None = Field(default=None, ge=1)
    gear: int | None = Field(default=None, ge=1)
    slots: int | None = Field(default=None, ge=1, le=8)
    in_flight: int | None = Field(default=None, ge=1, le=8)
    max_queued_rows: int | None = Field(default=None, ge=1)
    priority_levels: int = Field(default=1, ge=1, le=16)
    default_deadline_ms: float | None = Field(default=None, gt=0)
    deferred: bool = False
    padded: tuple[PaddedLength, ...] = ()
    journal: Path | None = None

    @model_validator(mode="after")
    def _fits(self) -> BatchingConfig:
        if self.in_flight is not None and self.slots is not None and self.in_flight > self.slots:
            raise ValueError(
                f"in_flight is {self.in_flight} but slots is {self.slots}: at most one batch a slot"
            )
        for option, policy in _POLICY_OF.items():
            if getattr(self, option) is not None and policy != self.policy:
                raise ValueError(
                    f"{option} belongs to the policy '{policy}'; '{self.policy}' does not take it"
                )
        if self.deferred and self.policy == "fixed_wait":
            raise ValueError(
                "deferred means nothing to the policy 'fixed_wait', which closes batches by wait_ms and "
                "max_batch_size: leave it out, or take another policy"
            )
        self.chosen_policy()
        return self

    @property
    def opening_slots(self) -> int | None:
        """Slots that a session opens with, never fewer than `in_flight`; None has them chosen from measured times."""
        if self.slots is None and self.in_flight is not None and self.in_flight > LEAST_SLOTS:
            return self.in_flight
        return self.slots

    @property
    def default_deadline_s(self) -> float | None:
        """`default_deadline_ms` in seconds."""
        return None if self.default_deadline_ms is None else self.default_deadline_ms / 1e3

    def chosen_policy(self) -> Policy:
        """The policy that these settings name.

        Raises:
            ConfigError: it does not take the options given.
        """
        given = {option: getattr(self, option) for option in _POLICY_OF}
        options = {option: value for option, value in given.items() if value is not None}
        return policy_named(self.policy, **options)


_POLICY_OF = {
    "objective": "optimal",
    "tail_weight": "optimal",
    "slo_ms": "optimal",
    "may_wait": "optimal",
    "wait_ms": "fixed_wait",
    "max_batch_size": "fixed_wait",
    "gear": "fixed",
}
"""Which policy each option of a policy is for; what is not given, the policy itself has a default for."""


class LimitsConfig(_Closed):
    """Bounds on one request; past them it is answered with 413 and nothing is run.

    Attributes:
        max_body_bytes: bytes of an HTTP body.
        max_rows: rows of one request, over HTTP or a handle; default 16 times the largest gear or, if that is more, as
            many as neither take nor give more than 16 MiB.
    """

    max_body_bytes: int = Field(default=64 * MIB, ge=1024)
    max_rows: int | None = Field(default=None, ge=1)

    def rows_of(self, spec: ModelSpec) -> int:
        """The most rows of one request to this model."""
        if self.max_rows is not None:
            return self.max_rows
        # Results too: a few bytes of token ids a row may come back as kilobytes of embedding.
        return max(16 * spec.gears.largest, 16 * MIB // max(spec.input_row_bytes, spec.output_row_bytes))


class AppConfig(_Closed):
    """One model, served.

    Exactly one of `recipe` (compile from ONNX) and `om` (ready-made) says where the model comes from. Relative
    paths are looked up from the folder in which Serve was started.

    Attributes:
        recipe: path of a compile recipe.
        om: path of a ready-made `.om`, or one for each SoC: `{Ascend310P3: a.om, Ascend910B3: b.om}`.
        name: the model's name in URLs; default the recipe's name, or the stem of the `.om`.
        compile: `missing` compiles what the store lacks before replicas start; `never` only looks it up.
        targets: SoCs to have artefacts for, beside the recipe's and those that the cluster's nodes name.
        retry_failed: compile again what failed before with the same recipe and tools.
        store: the artefact store: a folder that all nodes share, or a URL that fsspec knows, such as
            `s3://bucket/prefix`; default `ASCEND_SERVE_STORE`.
        batched: for a ready-made `.om` without batch gears: whether axis 0 counts independent rows; default: it does
            when all tensors share it.
        front: `direct` hands each request to the engine as it comes; `batch` puts one `@serve.batch` between them, and
            that costs 40 to 70 us of CPU a request (`python -m benchmarks.http_profile --settings`).
        batching: how rows become batches.
        limits: bounds on one request.
        replica_cpus: CPUs that a replica asks Ray for, which is a promise and no limit; the default is what one was
            measured to use at about 190 requests of one row a second (`python -m benchmarks replica`).
        start_timeout_s: time for opening the device, loading and warming up.
        stall_timeout_s: a batch that is on the device for longer makes the replica unhealthy.
        autoscaling: options of Serve's `autoscaling_config`; `target_ongoing_requests` is derived when not given.
    """

    recipe: Path | None = None
    om: Path | dict[str, Path] | None = None
    name: str | None = None
    compile: Literal["missing", "never"] = "missing"
    targets: tuple[str, ...] = ()
    retry_failed: bool = False
    store: str | None = None
    batched: bool | None = None
    front: Literal["batch", "direct"] = "direct"
    batching: BatchingConfig = BatchingConfig()
    limits: LimitsConfig = LimitsConfig()
    replica_cpus: float = Field(default=0.25, gt=0)
    start_timeout_s: float = Field(default=300.0, gt=0)
    stall_timeout_s: float = Field(default=30.0, gt=0)
    autoscaling: dict[str, Any] | None = None

    @field_validator("name")
    @classmethod
    def _name_fits_a_url(cls, name: str | None) -> str | None:
        if name is not None and not _MODEL_NAME.fullmatch(name):
            raise ValueError(f"'{name}' cannot stand in a URL: use letters, digits, '.', '_' and '-'")
        return name

    @field_validator("targets")
    @classmethod
    def _targets_are_known(cls, targets: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(resolve_soc(target).name for target in targets)

    @field_validator("om")
    @classmethod
    def _om_socs_are_known(cls, om: Path | dict[str, Path] | None) -> Path | dict[str, Path] | None:
        if isinstance(om, dict):
            if not om:
                raise ValueError("is an empty mapping: give at least one 'SoC: path'")
            return {resolve_soc(soc).name: path for soc, path in om.items()}
        return om

    @model_validator(mode="after")
    def _one_source(self) -> AppConfig:
        if (self.recipe is None) == (self.om is None):
            given = "both" if self.recipe is not None else "neither"
            raise ValueError(
                f"{given} of 'recipe' and 'om' given: exactly one says where the model comes from"
            )
        if self.om is not None and self.targets:
            raise ValueError("targets belong to a recipe; a ready-made 'om' is compiled already")
        for key in ("compile", "retry_failed", "store"):
            if self.om is not None and key in self.model_fields_set and getattr(self, key) is not None:
                raise ValueError(
                    f"{key} belongs to a recipe; a ready-made 'om' is neither compiled nor looked up: leave it out"
                )
        if self.batched is not None and self.om is None:
            raise ValueError(
                "batched belongs to a ready-made 'om'; a recipe has a field `batched` of its own: write it there"
            )
        return self


def parse_app_config(args: dict[str, Any]) -> AppConfig:
    """Validate the `args:` of an application.

    Raises:
        ConfigError: every fault found, each with its key, its value, the rule and the nearest right form.
    """
    try:
        return AppConfig.model_validate(args)
    except ValidationError as error:
        raise ConfigError(describe_faults(error, AppConfig, "args")) from None


def describe_faults(error: ValidationError, model: type[BaseModel], where: str) -> str:
    """Pydantic's findings in one line: `args.batching.slot: unknown key; did you mean 'slots'?`."""
    faults = []
    for fault in error.errors():
        # Pydantic names the branches of a union in the location; a user knows only keys and indices.
        location = tuple(part for part in fault["loc"] if not _names_a_type(part))
        path = ".".join(filter(None, [where, *map(str, location)]))
        if fault["type"] == "extra_forbidden":
            faults.append(
                f"{path}: unknown key{nearest(str(location[-1]), _fields_at(model, location[:-1]))}"
            )
        elif fault["type"] == "missing":
            faults.append(f"{path}: this key is missing")
        else:
            message = fault["msg"].removeprefix("Value error, ").rstrip(".")
            shown = "" if fault["type"] == "value_error" else f" (got {fault['input']!r})"
            faults.append(f"{path}: {message}{shown}")
    return "; ".join(dict.fromkeys(faults))


def _names_a_type(part: int | str) -> bool:
    return isinstance(part, str) and (
        part in ("path", "str", "int", "float", "bool") or part.startswith(("dict[", "lax-or-strict"))
    )


def _fields_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    for key in location:
        if isinstance(key, int):
            continue  # which one of a list; all are of one kind
        field = model.model_fields.get(key)
        inner = None if field is None else _model_in(field.annotation)
        if inner is None:
            return []
        model = inner
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model in an annotation such as `tuple[Model, ...]`, or None."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for part in get_args(annotation) if (model := _model_in(part))), None)
