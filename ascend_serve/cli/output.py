"""Files that a verb writes where `--output` says: folders are made, and nothing is replaced without `--force`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from ascend_serve.errors import ConfigError


def is_folder(output: str) -> bool:
    """Whether `--output` means a folder: one that is there, or whatever ends with a slash."""
    return output.endswith(os.sep) or Path(output).is_dir()


def check_free(files: Iterable[Path], *, force: bool) -> None:
    """See that nothing is replaced that should not be.

    Raises:
        ConfigError: a file is there already, and `force` was not given.
    """
    if not force and (there := next((file for file in files if file.exists()), None)):
        raise ConfigError(f"{there} is there already: give another --output, or --force to replace it")


def write_files(texts: Mapping[Path, str], *, force: bool) -> None:
    """Write each text to its file, all of them or, when one is there already, none.

    Raises:
        ConfigError: a file is there already and `force` was not given, or one cannot be written.
    """
    check_free(texts, force=force)
    for file, text in texts.items():
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"cannot write {file}: {error.strerror}: give another --output") from error
