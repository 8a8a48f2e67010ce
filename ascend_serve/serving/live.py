"""What may change while a replica serves: Serve's `user_config` of the deployment.

    deployments:
      - name: AscendModel
        user_config:
          batching: {policy: pad_up, max_queued_rows: 64, default_deadline_ms: 200}
          limits: {max_rows: 32, max_body_bytes: 1048576}

and for an application of several `models`, each by its name, in all of its versions:

        user_config:
          limits: {max_body_bytes: 1048576}
          models:
            digits:
              batching: {default_deadline_ms: 200}

What it names takes the place of what `args` say, and what it leaves out is as `args` say; so `{}` is `args` alone. A
policy and its options are one setting: where `policy` is named, the options in `args` do not count.

Serve hands it to every replica, first as it starts, and again whenever it has changed in a file that has not changed
otherwise (ray/serve/_private/deployment_state.py, `DeploymentVersion.requires_actor_reconfigure`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import TypeVar

from pydantic import Field, ValidationError, model_validator

from ascend_serve.errors import ConfigError
from ascend_serve.serving.config import (
    POLICY_OF,
    AppConfig,
    BatchingConfig,
    LimitsConfig,
    LiveBatching,
    ModelConfig,
    RowLimits,
)
from ascend_serve.serving.setting_faults import describe_faults
from ascend_serve.spec.closed import Closed
from ascend_serve.spec.text import nearest

WHERE = "user_config"

_Settings = TypeVar("_Settings", bound=Closed)


class _Batching(LiveBatching):
    @model_validator(mode="before")
    @classmethod
    def _needs_no_restart(cls, told: object) -> object:
        fixed = BatchingConfig.model_fields.keys() - cls.model_fields.keys()
        if isinstance(told, Mapping) and (named := sorted(fixed.intersection(told))):
            raise ValueError(f"{named[0]} cannot change while a replica serves: set it in args")
        return told


class LiveModel(Closed):
    """What may change of one model."""

    batching: _Batching = _Batching()
    limits: RowLimits = RowLimits()


class LiveConfig(Closed):
    """What may change of a replica: of its one model directly, or of several under `models`, by their names."""

    batching: _Batching = _Batching()
    limits: LimitsConfig = LimitsConfig()
    models: dict[str, LiveModel] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LiveSettings:
    """What holds once a `user_config` was taken.

    Attributes:
        models: settings of each model, in the order of `args`.
        max_body_bytes: bytes of a request's body.
    """

    models: tuple[ModelConfig, ...]
    max_body_bytes: int


def live_settings(user_config: object, config: AppConfig, names: Sequence[str | None]) -> LiveSettings:
    """What is to hold with this `user_config`.

    Args:
        user_config: as the Serve file has it.
        config: the `args`.
        names: of each model in `config.served`, in their order; None for one that is not known yet.

    Raises:
        ConfigError: an unknown key or model, or a value that does not fit; every fault in one line.
    """
    try:
        live = LiveConfig.model_validate(user_config)
    except ValidationError as error:
        raise ConfigError(describe_faults(error, LiveConfig, WHERE)) from None
    body_limits = _over(config.limits, live.limits, f"{WHERE}.limits")
    if not config.models:
        if live.models:
            raise ConfigError(
                f"{WHERE}.models: this application has one model: write its keys directly into {WHERE}"
            )
        own = LiveModel(batching=live.batching, limits=RowLimits(**_rows_of(live.limits)))
        models = tuple(_changed(model, own, WHERE) for model in config.served)
        return LiveSettings(models, body_limits.max_body_bytes)
    if "batching" in live.model_fields_set or _rows_of(live.limits):
        key = "batching" if "batching" in live.model_fields_set else "limits.max_rows"
        raise ConfigError(
            f"{WHERE}.{key}: this application has several models: write it below {WHERE}.models.<name>"
        )
    known = [name for name in names if name is not None]
    if len(known) == len(names) and (unknown := [name for name in live.models if name not in known]):
        raise ConfigError(f"{WHERE}.models.{unknown[0]}: no such model{nearest(unknown[0], known)}")
    models = tuple(
        model
        if name is None or (own_of := live.models.get(name)) is None
        else _changed(model, own_of, f"{WHERE}.models.{name}")
        for model, name in zip(config.served, names, strict=True)
    )
    return LiveSettings(models, body_limits.max_body_bytes)


def _rows_of(limits: LimitsConfig) -> dict[str, int | None]:
    return limits.model_dump(exclude_unset=True, include={"max_rows"})


def _changed(model: ModelConfig, live: LiveModel, where: str) -> ModelConfig:
    gone = set(POLICY_OF) if "policy" in live.batching.model_fields_set else set()
    return model.model_copy(
        update={
            "batching": _over(model.batching, live.batching, f"{where}.batching", gone),
            "limits": _over(model.limits, live.limits, f"{where}.limits"),
        }
    )


def _over(settings: _Settings, live: Closed, where: str, gone: AbstractSet[str] = frozenset()) -> _Settings:
    """The settings but those that are `gone`, with those that were set live in their place."""
    kind = type(settings)
    kept = settings.model_dump(exclude_unset=True, exclude=set(gone))
    merged = {**kept, **live.model_dump(exclude_unset=True)}
    try:
        return kind.model_validate(merged)
    except ValidationError as error:
        raise ConfigError(describe_faults(error, kind, where)) from None
