"""Every exception this package raises, in one tree.

    AscendServeError
    ├── RequestError                 the caller's request is wrong; nothing was run
    │   ├── MalformedRequest         the body cannot be read at all
    │   ├── InvalidTensor            a tensor's name, datatype, shape or data breaks the model's signature
    │   ├── UnsupportedMedia         the body is of a kind that this door does not take
    │   ├── RequestTooLarge          a bound on bytes, rows or pixels was passed
    │   ├── PoisonRequest            the device fails whenever it computes this request
    │   ├── ModelNotFound            no such model or version behind this door
    │   ├── NotOffered               the protocol has it, and this server does not
    │   └── Unauthenticated          no token, or a wrong one
    ├── Refusal                      the request is right, but cannot be taken now; try again later
    │   ├── QueueFull
    │   ├── Draining
    │   └── DeadlineUnmet            its deadline cannot be met any more
    ├── DeadlineExpired              the ticket's deadline passed before it ran, or before it came back
    ├── TicketCancelled              the caller left before the ticket ran
    ├── UnusableOutput               what the model gave cannot be told, such as a label for NaN
    ├── ConfigError                  a setting is wrong: named key, value, rule, nearest right one
    │   └── ProcessorMissing         no module of the name that a processor is to come from
    ├── CompileError                 a model could not be compiled
    │   ├── ToolMissing              no `atc` where it is looked for
    │   ├── ToolchainMismatch        tools, runtime and artefact are not of one kind
    │   └── BuildFailed              `atc` ran and said no
    ├── ArtifactError                a compiled model at rest is wrong
    │   ├── NotAnOm                  the file is no (whole) offline model
    │   ├── ArtifactMissing          nothing is compiled for this SoC
    │   └── SocMismatch              compiled for another architecture
    └── DeviceError                  the accelerator or its driver
        ├── AclMissing               the module `acl` cannot be imported
        ├── AclError                 an ACL call returned a code
        │   ├── AclUsageError        1xxxxx: we called it wrongly
        │   ├── AclResourceError     2xxxxx: memory, streams, features run out
        │   ├── AclServiceError      3xxxxx: business state
        │   ├── AclWaitTimeout       a bounded wait ended: not a fault of the device
        │   └── AclDeviceFault       5xxxxx: the device or its driver failed
        │       └── AclTaskFault     a task failed on the device, perhaps for what it was given to compute
        ├── TooLittleMemory          what is to be loaded does not fit the device's memory
        └── LaneStalled              the thread that owns the device does not return

Every class carries *hints* for front doors as plain integers, so that this module needs no server library:
`http_status` and `grpc_status` (numbers of `google.rpc.Code`); a `Refusal` has `retry_after_s` too. All survive
pickling, since they travel between Ray processes. What an instance knows has no default on its class: Ray raises a
subclass of both its own error and ours, which asks the original only for what the class itself does not have.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class AscendServeError(Exception):
    """Root of all errors of this package.

    Attributes:
        http_status: status an HTTP front door should answer with.
        grpc_status: `google.rpc.Code` number a gRPC front door should answer with.
    """

    http_status: int = 500
    grpc_status: int = 13  # INTERNAL

    def __reduce__(self) -> tuple[Any, ...]:
        # Exception's own __reduce__ calls the class with `args`, which breaks for classes whose constructor
        # takes named parts; rebuilding from the state works for all of them.
        return _rebuild, (type(self), self.args, self.__dict__)


def _rebuild(cls: type[AscendServeError], args: tuple[Any, ...], state: dict[str, Any]) -> AscendServeError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


def _sentences(parts: Sequence[str]) -> str:
    return " ".join(part if part.endswith((".", "?", "!")) else part + "." for part in parts)


# --- the caller's request ------------------------------------------------------------------------


class RequestError(AscendServeError):
    """The request is wrong as sent; sending it again will not help."""

    http_status = 400
    grpc_status = 3  # INVALID_ARGUMENT


class MalformedRequest(RequestError):
    """The body cannot be read: bad JSON, a truncated binary section, a wrong header."""


class InvalidTensor(RequestError):
    """A tensor does not fit the model: name, datatype, shape or amount of data."""


class UnsupportedMedia(RequestError):
    """The body is of a kind that this door does not take, such as a GIF where JPEG and PNG are."""

    http_status = 415


class RequestTooLarge(RequestError):
    """A bound on bytes, rows or pixels was passed."""

    http_status = 413
    grpc_status = 8  # RESOURCE_EXHAUSTED


class PoisonRequest(RequestError):
    """The device fails whenever it computes this request, and computes others: what is in it is at fault.

    It was run, alone at the end, so that no other request suffers for it. Sending it again makes the device fail again.
    """

    http_status = 422


class ModelNotFound(RequestError):
    """No such model, or no such version, behind this door."""

    http_status = 404
    grpc_status = 5  # NOT_FOUND


class NotOffered(RequestError):
    """The protocol has a word for it, and this server does not do it."""

    grpc_status = 12  # UNIMPLEMENTED


class Unauthenticated(RequestError):
    """The request has no token, or one that is not this server's."""

    http_status = 401
    grpc_status = 16  # UNAUTHENTICATED


# --- not now -------------------------------------------------------------------------------------


class Refusal(AscendServeError):
    """The request is right but cannot be taken now.

    Args:
        reason: one sentence naming the bound that was met.
        retry_after_s: seconds after which a retry makes sense.
    """

    http_status = 503
    grpc_status = 14  # UNAVAILABLE

    def __init__(self, reason: str, retry_after_s: float = 1.0) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


class QueueFull(Refusal):
    """The queue holds as many rows as it may."""

    http_status = 429
    grpc_status = 8  # RESOURCE_EXHAUSTED


class Draining(Refusal):
    """The replica finishes what it accepted and takes nothing new."""


class DeadlineUnmet(Refusal):
    """The deadline cannot be met any more, so the request was not even queued."""

    http_status = 504
    grpc_status = 4  # DEADLINE_EXCEEDED


class DeadlineExpired(AscendServeError):
    """The deadline passed before the ticket ran, so that it never will; or while it ran, on a device that hangs."""

    http_status = 504
    grpc_status = 4  # DEADLINE_EXCEEDED


class TicketCancelled(AscendServeError):
    """The caller left before the ticket ran; it was never executed."""

    http_status = 499
    grpc_status = 1  # CANCELLED


class UnusableOutput(AscendServeError):
    """What the model gave cannot be made into an answer."""


# --- settings, compiling, artefacts ---------------------------------------------------------------


class ConfigError(AscendServeError, ValueError):
    """A setting is wrong; the message names the key, the value, the rule and the nearest right form.

    It is a ValueError too, so that pydantic collects it with the faults it finds itself.
    """

    http_status = 400
    grpc_status = 3


class ProcessorMissing(ConfigError):
    """There is no module of that name here; it may be where the application will run."""


class CompileError(AscendServeError):
    """A model could not be compiled."""


class ToolMissing(CompileError):
    """No `atc`, `aoe`, or Python with TensorFlow was found in any of the places it is looked for."""


class ToolchainMismatch(CompileError):
    """`atc`, `acl` and the artefact are not of one toolchain."""


class BuildFailed(CompileError):
    """`atc` ran and did not produce the model.

    Args:
        cause: one sentence: what is wrong.
        target: the SoC the build was for.
        code: ATC's or GE's code of the first cause, such as `E10031`, or None.
        operator: type of the operator that it is about, such as `Resize`, or None.
        node: name of the node that it is about, or None.
        hint: what to do about it, or None.
        reference: where the code is documented, or None.
        log_path: where the whole output was kept, or None.
    """

    def __init__(
        self,
        cause: str,
        *,
        target: str,
        code: str | None = None,
        operator: str | None = None,
        node: str | None = None,
        hint: str | None = None,
        reference: str | None = None,
        log_path: str | None = None,
    ) -> None:
        parts = [f"{target}: {code + ': ' if code else ''}{cause}"]
        if hint:
            parts.append(hint)
        if reference:
            parts.append(f"See {reference}")
        if log_path:
            parts.append(f"Full output: {log_path}")
        super().__init__(_sentences(parts))
        self.cause = cause
        self.target = target
        self.code = code
        self.operator = operator
        self.node = node
        self.hint = hint
        self.reference = reference
        self.log_path = log_path


class PreflightFailed(CompileError):
    """The model and the recipe cannot become a compiled model; `atc` was not run.

    Args:
        target: the SoC, or the recipe's name when it holds for all.
        findings: one sentence each, with the way out.
    """

    def __init__(self, target: str, findings: tuple[str, ...]) -> None:
        super().__init__(f"{target}: {_sentences(findings)}")
        self.target = target
        self.findings = findings


class VerificationFailed(CompileError):
    """The compiled model computes something else than its source, past the recipe's tolerance."""


class ArtifactError(AscendServeError):
    """A compiled model at rest is wrong."""


class NotAnOm(ArtifactError):
    """The file is not a whole offline model."""


class ArtifactMissing(ArtifactError):
    """Nothing is compiled for this model and SoC; the message says which command makes it."""


class SocMismatch(ArtifactError):
    """The model was compiled for another architecture than the device's."""


# --- the device ----------------------------------------------------------------------------------


class DeviceError(AscendServeError):
    """The accelerator, its driver or its runtime."""

    http_status = 500


class AclMissing(DeviceError):
    """The module `acl` cannot be imported."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"The Python module 'acl' (pyACL) cannot be imported: {reason}. On a machine with an Ascend card, "
            "run `source /usr/local/Ascend/ascend-toolkit/set_env.sh` (CANN puts pyACL on PYTHONPATH); "
            "without a card, see 'Develop without a card' in the README."
        )


class AclError(DeviceError):
    """An ACL call returned a code other than 0.

    Args:
        call: the pyACL function, such as `acl.rt.malloc`.
        code: the returned code.
        name: the code's name in the ACL headers without prefix, or `UNKNOWN`.
        meaning: the code in words.
        detail: text of `acl.get_recent_err_msg()`, or None.
    """

    def __init__(self, call: str, code: int, name: str, meaning: str, detail: str | None = None) -> None:
        message = f"{call} returned {code} ({name}): {meaning}"
        super().__init__(f"{message} [{detail.strip()}]" if detail else message)
        self.call = call
        self.code = code
        self.name = name
        self.meaning = meaning
        self.detail = detail


class AclUsageError(AclError):
    """1xxxxx: the call was wrong (a null handle, no context, a dataset that does not fit)."""


class AclResourceError(AclError):
    """2xxxxx: memory, streams, events or a feature are not to be had."""

    http_status = 503
    grpc_status = 8


class AclServiceError(AclError):
    """3xxxxx: the state of the service forbids it."""


class AclWaitTimeout(AclError):
    """A bounded wait ended before the work did (507012, 507046, 507047); the device is not known to be ill."""


class AclDeviceFault(AclError):
    """5xxxxx: the device, its firmware or its driver failed; a replica that sees one is unhealthy."""

    http_status = 503
    grpc_status = 14


class AclTaskFault(AclDeviceFault):
    """A task failed on the device: an exception, a trap or an overrun time of a core, which its operands may cause.

    The context is of no use any more, the device may be: a lane opens it again before it gives it up.
    """


class TooLittleMemory(DeviceError):
    """What is to be loaded takes more memory than the device has free; nothing was loaded."""

    http_status = 503
    grpc_status = 8


class LaneStalled(DeviceError):
    """The thread that owns the device has not come back within its limit."""

    http_status = 503
    grpc_status = 14
