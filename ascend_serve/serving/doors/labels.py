"""Label files: what the elements of an output are called, for answers to requests that ask for classes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from ascend_serve.errors import ConfigError
from ascend_serve.spec.model import ModelSpec
from ascend_serve.spec.text import nearest


def check_outputs(outputs: Iterable[str], spec: ModelSpec) -> None:
    """See that outputs for which there are labels are the model's.

    Raises:
        ConfigError: one is not.
    """
    for output in outputs:
        if spec.output(output) is None:
            known = nearest(output, [tensor.name for tensor in spec.outputs])
            raise ConfigError(f"labels: model '{spec.name}' has no output '{output}'{known}")


def read_labels(files: Mapping[str, Path], spec: ModelSpec) -> dict[str, tuple[str, ...]]:
    """Labels by output.

    Args:
        files: a text file by the name of each output, with one label a line, that of index 0 first.
        spec: of the model.

    Raises:
        ConfigError: no such output, or a file that cannot be read.
    """
    check_outputs(files, spec)
    labels = {}
    for output, file in files.items():
        try:
            labels[output] = tuple(file.read_text(encoding="utf-8").splitlines())
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"labels.{output}: {file} cannot be read: {error}") from None
    return labels
