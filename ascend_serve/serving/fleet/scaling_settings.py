"""`args.autoscaling` with `policy: capacity`: what a user may write, and what Serve is told of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeGuard

from pydantic import Field

from ascend_serve.errors import ConfigError
from ascend_serve.scaling.bearing import GOOD
from ascend_serve.spec.closed import Closed, parse_closed

CAPACITY = "capacity"
POLICY = "ascend_serve.serving.autoscaling:capacity_policy"
_FUNCTIONS = (
    "ascend_serve.serving.autoscaling.capacity_policy",
    "ascend_serve.serving.autoscaling.CapacityPolicy",
)


class CapacityScaling(Closed):
    """Replicas by what they bear within an SLO.

    Attributes:
        policy: the word that says so.
        slo_ms: milliseconds within which a row is to be answered, from when it came to a replica. It says what a
            replica bears, and refuses nobody: for that there is `batching.default_deadline_ms`.
        good: share of the rows for which that is to hold.
        max_replicas: the most there may be.
        min_replicas: the fewest; 0 gives all NPUs back once nothing has come for `idle_s`.
        initial_replicas: how many to begin with; default `min_replicas`.
        idle_s: seconds without a request after which there are to be no replicas, where `min_replicas` is 0.
        headroom: by which share more capacity is kept than the load needs; 0.2 takes up a load that is a fifth higher
            from one moment to the next, while more replicas start.
        hold_s: the least seconds for which what was needed is kept. By itself it is five starts of a replica, and
            longer where one that was given up was wanted back soon after.
        grow_cluster: asks for more replicas than there are NPUs, for Ray's autoscaler to add nodes; otherwise no more
            are asked for than there are.
        upscale_delay_s: seconds for which Serve waits before it does as the policy says; by itself the policy says so
            only when it is sure.
        downscale_delay_s: likewise for fewer, and for none.
        metrics_interval_s: seconds between two reports of a replica.
        look_back_period_s: seconds that a report covers; a fifth of it is the time between two samples, if that is less
            than `metrics_interval_s`.
    """

    policy: Literal["capacity"]
    slo_ms: float = Field(gt=0, allow_inf_nan=False)
    good: float = Field(default=GOOD, gt=0, lt=1)
    max_replicas: int = Field(ge=1)
    min_replicas: int = Field(default=1, ge=0)
    initial_replicas: int | None = Field(default=None, ge=0)
    idle_s: float = Field(default=300.0, ge=0, allow_inf_nan=False)
    headroom: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    hold_s: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    grow_cluster: bool = False
    upscale_delay_s: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    downscale_delay_s: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    metrics_interval_s: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    look_back_period_s: float = Field(default=2.0, gt=0, allow_inf_nan=False)

    def for_serve(self, replica_npus: float = 1.0) -> dict[str, Any]:
        """The options of Serve's `autoscaling_config`, for replicas with so many NPUs each."""
        own = self.model_dump(include={"idle_s", "headroom", "hold_s", "grow_cluster"})
        return {
            **self.model_dump(exclude={"policy", "slo_ms", "good", *own}, exclude_none=True),
            "policy": {
                "policy_function": POLICY,
                "policy_kwargs": {**own, "replica_npus": replica_npus},
            },
        }


def capacity_scaling(
    options: Mapping[str, Any] | None, where: str = "args.autoscaling"
) -> CapacityScaling | None:
    """The settings of this policy, or None where `args.autoscaling` leaves it to Serve's own.

    Serve's way to name a policy, `policy: {policy_function: module:function, policy_kwargs: {...}}`, means the same.

    Raises:
        ConfigError: a key or a value is wrong.
    """
    if options is None:
        return None
    policy = options.get("policy")
    if names_capacity(policy):
        options = {**options, **_arguments(policy, options, where), "policy": CAPACITY}
    elif policy != CAPACITY:
        return None
    return parse_closed(CapacityScaling, options, where)


def names_capacity(policy: object) -> TypeGuard[Mapping[str, Any]]:
    """Whether what stands under `policy` calls this one by its function, as Serve's own options do."""
    function = policy.get("policy_function") if isinstance(policy, Mapping) else None
    return isinstance(function, str) and function.replace(":", ".") in _FUNCTIONS


def _arguments(policy: Mapping[str, Any], options: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    if unknown := [key for key in policy if key not in ("policy_function", "policy_kwargs")]:
        raise ConfigError(
            f"{where}.policy.{unknown[0]}: unknown key: write policy_function and policy_kwargs"
        )
    given = policy.get("policy_kwargs") or {}
    if not isinstance(given, Mapping):
        raise ConfigError(f"{where}.policy.policy_kwargs: {given!r} is no mapping of names to values")
    if twice := [key for key in given if key in options]:
        raise ConfigError(f"{where}: {twice[0]} is given in policy_kwargs and beside policy: give it once")
    return given
