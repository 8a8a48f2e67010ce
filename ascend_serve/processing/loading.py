"""Processors by name: `module:Class` becomes a class, and `processor_args` its settings."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from typing import Any

from ascend_serve.errors import ConfigError, ProcessorMissing
from ascend_serve.processing.processor import Processor
from ascend_serve.spec.closed import parse_closed
from ascend_serve.spec.model import ModelSpec
from ascend_serve.spec.text import nearest

_REFERENCE = re.compile(r"(?P<module>[A-Za-z_]\w*(\.[A-Za-z_]\w*)*):(?P<name>[A-Za-z_]\w*)")


def check_reference(reference: str) -> str:
    """The reference itself, if it has the form `module:Class`.

    Raises:
        ConfigError: it has not.
    """
    if not _REFERENCE.fullmatch(reference):
        raise ConfigError(
            f"'{reference}' names no class: write module:Class, such as "
            "ascend_serve.processing.images:ImageClassifier"
        )
    return reference


def load_processor(reference: str) -> type[Processor[Any]]:
    """The class that `module:Class` names. Imports the module.

    Raises:
        ProcessorMissing: the module cannot be found.
        ConfigError: it cannot be imported, has no such class, or the class is no `Processor`.
    """
    found = _REFERENCE.fullmatch(check_reference(reference))
    assert found is not None, "check_reference let it through"
    module_name, name = found["module"], found["name"]
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module_name}.".startswith(f"{error.name}."):
            raise ProcessorMissing(
                f"processor '{reference}': there is no module '{error.name}' on the import path; put it into the "
                "application's working_dir, or install it on every node"
            ) from error
        raise ConfigError(f"processor '{reference}': its module needs another one: {error}") from error
    except ImportError as error:
        raise ConfigError(f"processor '{reference}' cannot be imported: {error}") from error
    kind = getattr(module, name, None)
    classes = [key for key, value in vars(module).items() if _is_processor(value)]
    if kind is None:
        raise ConfigError(f"processor '{reference}': no '{name}' in '{module_name}'{nearest(name, classes)}")
    if not _is_processor(kind):
        raise ConfigError(
            f"processor '{reference}' is no subclass of ascend_serve.Processor{nearest(name, classes)}"
        )
    chosen: type[Processor[Any]] = kind
    return chosen


def make_processor(reference: str, args: Mapping[str, Any], spec: ModelSpec) -> Processor[Any]:
    """The processor of a model.

    Args:
        reference: `module:Class`.
        args: what its `Settings` take.
        spec: the model's signature.

    Raises:
        ConfigError: `load_processor`'s, wrong settings, or the processor does not fit the model.
    """
    kind = load_processor(reference)
    return kind(parse_closed(kind.Settings, args, "processor_args"), spec)


def _is_processor(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, Processor) and value is not Processor
