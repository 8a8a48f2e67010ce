"""The processors that settings name: checked where an application is built, made where it is served."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from ascend_serve.errors import ConfigError
from ascend_serve.processing.loading import load_processor, make_processor
from ascend_serve.processing.processor import Processor
from ascend_serve.protocol.paths import asked_by
from ascend_serve.serving.config import ModelConfig
from ascend_serve.spec.closed import parse_closed
from ascend_serve.spec.model import ModelSpec


def settled(args: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of an application with all `processor_args` validated, and the files that they name read.

    Replicas on other nodes get those, so that they need none of the files.

    Args:
        args: as `AppConfig.model_dump(exclude_unset=True)` gives them.

    Raises:
        ConfigError: no such processor, wrong settings of one, or a door that no request reaches.
    """
    whole = _settled_model(args, "processor_args")
    if "models" in whole:
        whole["models"] = [
            _settled_model(model, f"models.{number}.processor_args")
            for number, model in enumerate(whole["models"])
        ]
    return whole


def check_fit(config: ModelConfig, name: str, specs: Sequence[ModelSpec]) -> None:
    """See that a model's processor, if it has one, can be made for each of its artefacts.

    Raises:
        ConfigError: it cannot.
    """
    if config.processor is not None:
        for spec in specs:
            make_processor(config.processor, config.processor_args, replace(spec, name=name))


def check_settings(config: ModelConfig, base: Path) -> None:
    """See that a model's processor, if it has one, is there and takes its settings.

    Args:
        config: of the model.
        base: the folder in which Serve will be started, where it finds modules too.

    Raises:
        ProcessorMissing: there is no such module here.
        ConfigError: it is no processor, the settings are wrong, or no request reaches a door of it.
    """
    if config.processor is not None:
        with _importable(base):
            kind = load_processor(config.processor)
            _check_doors(kind)
            parse_closed(kind.Settings, config.processor_args, "processor_args")


def _settled_model(model: Mapping[str, Any], where: str) -> dict[str, Any]:
    whole = dict(model)
    if (reference := whole.get("processor")) is not None:
        kind = load_processor(reference)
        _check_doors(kind)
        settings = parse_closed(kind.Settings, whole.get("processor_args", {}), f"args.{where}")
        whole["processor_args"] = settings.model_dump(exclude_unset=True)
    return whole


def _check_doors(kind: type[Processor[Any]]) -> None:
    for door in kind.doors:
        path = door.path or f"/v2/models/m/{door.verb}"
        if not path.startswith("/") or "/" in door.verb or asked_by(path) is not None:
            raise ConfigError(
                f"processor '{kind.__name__}' has a door at '{door.path or door.verb}', which no request reaches: a "
                "path begins with '/', a verb is one word, and neither is one of the protocol's: name another"
            )


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Have modules looked up in a folder too, as `serve run` has them in the one it is started in."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
