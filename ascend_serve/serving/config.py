"""The `args:` of an application: what a user may write in a Serve file, closed and validated.

They describe one model by its own keys, or several under `models`, and then what they share. Unknown keys fail with the
nearest known one, units are in the names, and nothing is unlimited by accident.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from ascend_serve.batching.policy import Policy, policy_named
from ascend_serve.errors import ConfigError
from ascend_serve.processing.loading import check_reference
from ascend_serve.runtime.measuring import LEAST_SLOTS
from ascend_serve.serving.setting_faults import describe_faults
from ascend_serve.spec.closed import Closed
from ascend_serve.spec.model import ModelSpec
from ascend_serve.spec.padding import PaddedLength
from ascend_serve.spec.soc import resolve_soc

MIB = 1024 * 1024
FIRST_VERSION = "1"
"""The version of a model that names none."""

_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_VERSION = re.compile(r"[1-9][0-9]{0,17}")


class LiveBatching(Closed):
    """Of how waiting rows become batches, what may change while a replica serves.

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
        max_queued_rows: rows that may wait in a replica before it answers 429; default four times the most rows of
            one request.
        default_deadline_ms: milliseconds after which the answer to a request that names no deadline is of no use.
    """

    policy: Literal["optimal", "pad_up", "step_down", "min_cost", "fixed_wait", "fixed"] = "optimal"
    objective: Literal["mean", "tail"] | None = None
    tail_weight: float | None = Field(default=None, gt=0)
    slo_ms: float | None = Field(default=None, gt=0)
    may_wait: bool | None = None
    wait_ms: float | None = Field(default=None, ge=0)
    max_batch_size: int | None = Field(default=None, ge=1)
    gear: int | None = Field(default=None, ge=1)
    max_queued_rows: int | None = Field(default=None, ge=1)
    default_deadline_ms: float | None = Field(default=None, gt=0)


class BatchingConfig(LiveBatching):
    """How waiting rows become batches.

    Attributes:
        slots: preallocated rooms for a batch; two or more let the next batch be packed and copied while one runs.
            Default: as many as the measured stages need to keep the device busy; with an `in_flight` above 2 exactly
            that many.
        in_flight: batches that may be on the device at once; default one in each slot, which is also the most. 1 never
            sets a gear while another batch of the model runs (see runtime/QUIRKS.md).
        priority_levels: levels that requests may name, 1 the most urgent; nothing starves. A request over HTTP or gRPC
            that names another, or none, has the middle one, as with Triton.
        deferred: keeps a batch open for as long as its deadlines allow, which saves device time at low load; not with
            `fixed_wait`, whose batches close by its own timer.
        padded: axes of requests that may be padded up to a compiled size and are cut off again.
        journal: file to which each replica appends what happened, for `ascend-serve replay`; the replica's id is put
            before its suffix.
    """

    slots: int | None = Field(default=None, ge=1, le=8)
    in_flight: int | None = Field(default=None, ge=1, le=8)
    priority_levels: int = Field(default=1, ge=1, le=16)
    deferred: bool = False
    padded: tuple[PaddedLength, ...] = ()
    journal: Path | None = None

    @model_validator(mode="after")
    def _fits(self) -> BatchingConfig:
        if self.in_flight is not None and self.slots is not None and self.in_flight > self.slots:
            raise ValueError(
                f"in_flight is {self.in_flight} but slots is {self.slots}: at most one batch a slot"
            )
        for option, policy in POLICY_OF.items():
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
        given = {option: getattr(self, option) for option in POLICY_OF}
        options = {option: value for option, value in given.items() if value is not None}
        return policy_named(self.policy, **options)


POLICY_OF = {
    "objective": "optimal",
    "tail_weight": "optimal",
    "slo_ms": "optimal",
    "may_wait": "optimal",
    "wait_ms": "fixed_wait",
    "max_batch_size": "fixed_wait",
    "gear": "fixed",
}
"""Which policy each option of a policy is for; what is not given, the policy itself has a default for."""


class RowLimits(Closed):
    """Bounds on one request to a model; past them it is answered with 413 and nothing is run.

    Attributes:
        max_rows: rows of one request, over HTTP or a handle; default 16 times the largest gear or, if that is more, as
            many as neither take nor give more than 16 MiB.
    """

    max_rows: int | None = Field(default=None, ge=1)

    def rows_of(self, spec: ModelSpec) -> int:
        """The most rows of one request to this model."""
        if self.max_rows is not None:
            return self.max_rows
        # Results too: a few bytes of token ids a row may come back as kilobytes of embedding.
        return max(16 * spec.gears.largest, 16 * MIB // max(spec.input_row_bytes, spec.output_row_bytes))


class LimitsConfig(RowLimits):
    """Bounds on one request to a replica of one model.

    Attributes:
        max_body_bytes: bytes of an HTTP body.
    """

    max_body_bytes: int = Field(default=64 * MIB, ge=1024)


class TokensConfig(Closed):
    """Where the bearer tokens are that requests need over HTTP and gRPC; exactly one of both.

    A file or variable holds one token a line; several let one be replaced while clients still send the other. Replicas
    read it when they start.

    Attributes:
        file: a text file that every node has at that path.
        variable: name of an environment variable of the replicas.
    """

    file: Path | None = None
    variable: str | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _one_place(self) -> TokensConfig:
        if (self.file is None) == (self.variable is None):
            given = "both" if self.file is not None else "neither"
            raise ValueError(f"{given} of 'file' and 'variable' given: exactly one says where the tokens are")
        return self


class _OneModel(Closed):
    recipe: Path | None = None
    om: Path | dict[str, Path] | None = None
    name: str | None = None
    version: str = FIRST_VERSION
    batched: bool | None = None
    batching: BatchingConfig = BatchingConfig()
    labels: dict[str, Path] = Field(default_factory=dict)
    processor: str | None = None
    processor_args: dict[str, Any] = Field(default_factory=dict)
    processor_threads: int = Field(default=2, ge=1, le=16)

    @field_validator("name")
    @classmethod
    def _name_fits_a_url(cls, name: str | None) -> str | None:
        if name is not None and not _MODEL_NAME.fullmatch(name):
            raise ValueError(f"'{name}' cannot stand in a URL: use letters, digits, '.', '_' and '-'")
        return name

    @field_validator("processor")
    @classmethod
    def _processor_names_a_class(cls, processor: str | None) -> str | None:
        return None if processor is None else check_reference(processor)

    @field_validator("version", mode="before")
    @classmethod
    def _version_is_a_number(cls, version: object) -> str:
        # YAML reads `version: 2` as a number.
        words = str(version) if isinstance(version, (str, int)) and not isinstance(version, bool) else ""
        if not _VERSION.fullmatch(words):
            raise ValueError(f"is {version!r}; a version is a whole number of at least 1, such as '2'")
        return words

    @field_validator("om")
    @classmethod
    def _om_socs_are_known(cls, om: Path | dict[str, Path] | None) -> Path | dict[str, Path] | None:
        if isinstance(om, dict):
            if not om:
                raise ValueError("is an empty mapping: give at least one 'SoC: path'")
            return {resolve_soc(soc).name: path for soc, path in om.items()}
        return om

    def _check_source(self) -> None:
        for key in ("processor_args", "processor_threads"):
            if key in self.model_fields_set and self.processor is None:
                raise ValueError(f"{key} belongs to a 'processor', and none is named")
        if (self.recipe is None) == (self.om is None):
            given = "both" if self.recipe is not None else "neither"
            raise ValueError(
                f"{given} of 'recipe' and 'om' given: exactly one says where the model comes from"
            )
        if self.batched is not None and self.om is None:
            raise ValueError(
                "batched belongs to a ready-made 'om'; a recipe has a field `batched` of its own: write it there"
            )


class ModelConfig(_OneModel):
    """One model of a replica.

    Exactly one of `recipe` (compile from ONNX) and `om` (ready-made) says where the model comes from. Relative
    paths are looked up from the folder in which Serve was started.

    Attributes:
        recipe: path of a compile recipe.
        om: path of a ready-made `.om`, or one for each SoC: `{Ascend310P3: a.om, Ascend910B3: b.om}`.
        name: the model's name in URLs; default the recipe's name, or the stem of the `.om`.
        version: a whole number; requests that name no version get the highest one of their model.
        batched: for a ready-made `.om` without batch gears: whether axis 0 counts independent rows; default: it does
            when all tensors share it.
        batching: how rows become batches.
        labels: for an output, a text file with one label a line, which answers to requests that ask for classes name.
        processor: `module:Class` of what makes tensors of bodies and answers of outputs, such as
            `ascend_serve.processing.images:ImageClassifier`, at doors of its own beside `infer`.
        processor_args: its settings.
        processor_threads: threads that it runs on.
        weight: this model's part of the device, relative to the other models', when all of them want it.
        limits: bounds on one request to it.
    """

    weight: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    limits: RowLimits = RowLimits()

    @model_validator(mode="after")
    def _one_source(self) -> ModelConfig:
        self._check_source()
        return self


class AppConfig(_OneModel):
    """What one replica serves: one model by the keys of a `ModelConfig`, or several under `models`.

    Attributes:
        models: several models, or several versions of one, which share the replica's NPU.
        compile: `missing` compiles what the store lacks before replicas start; `never` only looks it up.
        targets: SoCs to have artefacts for, beside the recipes' and those that the cluster's nodes name.
        retry_failed: compile again what failed before with the same recipe and tools.
        store: the artefact store: a folder that all nodes share, or a URL that fsspec knows, such as
            `s3://bucket/prefix`; default `ASCEND_SERVE_STORE`.
        front: `direct` hands each request to the engine as it comes; `batch` puts one `@serve.batch` between them, and
            that costs 40 to 70 us of CPU a request (`python -m benchmarks.http_profile --settings`).
        accounting: who keeps account of inference over HTTP where `ascend-serve run`'s settings hold. `replica`: the
            replica alone, in its own metrics, and so at less CPU, since requests are answered ahead of
            Serve's work (`serving.doors.ahead`). `serve`: Serve as well. Where Serve has to count, because it
            scales or routes by ongoing requests, has a `max_queued_requests` or traces, it does in either case.
        router: who chooses the replica of a request. `serve`: Serve does, by the fewest requests. `finish_first`: the
            replica that will be done first, by what its gears take and what it has to do; for replicas on several SoCs.
            Over HTTP with HAProxy it costs a look-up for each request; over gRPC HAProxy goes by the fewest requests.
        tokens: where the tokens are that requests over HTTP and gRPC need; without it everybody may ask. Health stays
            open, and handles need none: who has one is in the cluster.
        limits: bounds on one request; beside `models` without `max_rows`, which each of them has for itself.
        replica_cpus: CPUs that a replica asks Ray for, which is a promise and no limit; the default is what one was
            measured to use at about 190 requests of one row a second (`python -m benchmarks replica`).
        replica_npus: part of an NPU that a replica asks Ray for; with 0.5, two replicas run on one.
        memory_share: part of the NPU's memory that a replica may take; default `replica_npus`.
        memory_bytes: the same in bytes, in place of `memory_share`.
        start_timeout_s: time for opening the device, loading and warming up.
        stall_timeout_s: a batch that is on the device for longer makes the replica unhealthy.
        quarantine_s: how long a replica that finds its NPU lost as it starts keeps it from others, while there is no
            healthy one; 0 for not at all.
        autoscaling: options of Serve's `autoscaling_config`; `target_ongoing_requests` is derived when not given. With
            `policy: capacity` those of `scaling_settings.CapacityScaling` (docs/autoscaling.md).
    """

    models: tuple[ModelConfig, ...] = ()
    compile: Literal["missing", "never"] = "missing"
    targets: tuple[str, ...] = ()
    retry_failed: bool = False
    store: str | None = None
    front: Literal["batch", "direct"] = "direct"
    accounting: Literal["replica", "serve"] = "replica"
    router: Literal["serve", "finish_first"] = "serve"
    tokens: TokensConfig | None = None
    limits: LimitsConfig = LimitsConfig()
    replica_cpus: float = Field(default=0.25, gt=0)
    replica_npus: float = Field(default=1.0, gt=0, le=1)
    memory_share: float | None = Field(default=None, gt=0, le=1)
    memory_bytes: int | None = Field(default=None, ge=1)
    start_timeout_s: float = Field(default=300.0, gt=0)
    stall_timeout_s: float = Field(default=30.0, gt=0)
    quarantine_s: float = Field(default=60.0, ge=0)
    autoscaling: dict[str, Any] | None = None

    @field_validator("targets")
    @classmethod
    def _targets_are_known(cls, targets: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(resolve_soc(target).name for target in targets)

    @model_validator(mode="after")
    def _one_form(self) -> AppConfig:
        if "models" in self.model_fields_set:
            self._check_models()
        else:
            self._check_source()
        if all(model.om is not None for model in self.served):
            self._check_ready_made()
        if self.memory_share is not None and self.memory_bytes is not None:
            raise ValueError(
                "memory_share and memory_bytes both say how much memory a replica may take: give one"
            )
        return self

    def memory_of(self, total_bytes: int) -> int | None:
        """Bytes of a device's memory that a replica may take, of so many that it has; None: whatever is free."""
        if self.memory_bytes is not None:
            return self.memory_bytes
        share = self.replica_npus if self.memory_share is None else self.memory_share
        return None if share == 1.0 else int(total_bytes * share)

    @property
    def served(self) -> tuple[ModelConfig, ...]:
        """Every model, whichever form describes it."""
        if self.models:
            return self.models
        own = {key: getattr(self, key) for key in _OneModel.model_fields if key in self.model_fields_set}
        return (ModelConfig(**own, limits=RowLimits(max_rows=self.limits.max_rows)),)

    def _check_models(self) -> None:
        if not self.models:
            raise ValueError("models is empty: list at least one, or give the keys of one model directly")
        if own := [key for key in _OneModel.model_fields if key in self.model_fields_set]:
            raise ValueError(
                f"{own[0]} belongs to one model, and 'models' describes several: write it into the one it is for"
            )
        if "max_rows" in self.limits.model_fields_set:
            raise ValueError(
                "limits.max_rows is a limit of one model: write it into 'limits' of each of 'models'"
            )
        check_distinct((model.name, model.version) for model in self.models if model.name is not None)
        journals = [model.batching.journal for model in self.models if model.batching.journal is not None]
        if twice := next((path for path in journals if journals.count(path) > 1), None):
            raise ValueError(f"two of 'models' write the journal {twice}: give each a file of its own")

    def _check_ready_made(self) -> None:
        if self.targets:
            raise ValueError("targets belong to a recipe; a ready-made 'om' is compiled already")
        for key in ("compile", "retry_failed", "store"):
            if key in self.model_fields_set and getattr(self, key) is not None:
                raise ValueError(
                    f"{key} belongs to a recipe; a ready-made 'om' is neither compiled nor looked up: leave it out"
                )


def check_distinct(models: Iterable[tuple[str, str]]) -> None:
    """Check that no model is there twice.

    Args:
        models: name and version of each.

    Raises:
        ConfigError: two have both in common.
    """
    seen = set()
    for name, version in models:
        if (name, version) in seen:
            raise ConfigError(
                f"two of 'models' are '{name}' in version {version}: give one another name, or another version"
            )
        seen.add((name, version))


def parse_app_config(args: dict[str, Any]) -> AppConfig:
    """Validate the `args:` of an application.

    Raises:
        ConfigError: every fault found, each with its key, its value, the rule and the nearest right form.
    """
    try:
        return AppConfig.model_validate(args)
    except ValidationError as error:
        raise ConfigError(describe_faults(error, AppConfig, "args")) from None
