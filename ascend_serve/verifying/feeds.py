"""The inputs that the compiled model and its source both get: random, or from a file; in the shape of each gear.

Random values are the same each time. They have the element type the device takes: floats are standard normal, bytes
are 0 to 255, truth values are even odds, ids are within the table they are looked up in, and other whole
numbers are 0 or 1, which is what masks and segment numbers are.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ascend_serve.errors import ConfigError
from ascend_serve.spec.text import nearest

Array = np.ndarray[Any, np.dtype[Any]]

_DEFAULT_LIMIT = 2
"""One more than the largest whole number where nothing tells of a table."""


def random_inputs(
    shapes: Mapping[str, tuple[int, ...]], dtypes: Mapping[str, np.dtype[Any]], limits: Mapping[str, int]
) -> dict[str, Array]:
    """Random values for each input; the same for the same arguments.

    Args:
        shapes: by input.
        dtypes: by input; what the device takes.
        limits: one more than the largest value, for inputs that hold ids.
    """
    return {
        name: _random(np.random.default_rng([zlib.crc32(name.encode()), *shape]), shape, dtypes[name], limits.get(name))
        for name, shape in shapes.items()
    }  # fmt: skip


def _random(
    random: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype[Any], limit: int | None
) -> Array:
    if limit is not None:
        return random.integers(0, limit, shape).astype(dtype)
    if dtype.kind == "f":
        return random.standard_normal(shape).astype(dtype)
    if dtype == np.uint8:
        return random.integers(0, 256, shape).astype(dtype)
    return random.integers(0, _DEFAULT_LIMIT, shape).astype(dtype)


def read_inputs(path: Path, dtypes: Mapping[str, np.dtype[Any]]) -> dict[str, Array]:
    """The arrays of an `.npz` file, as the device's element types.

    Args:
        path: the file; an array for each input, of its name.
        dtypes: by input; a wider type of the same kind is converted (int64 to int32), another kind is not.

    Raises:
        ConfigError: the file cannot be read, or its names or types are not the inputs'.
    """
    try:
        with path.open("rb") as opened:
            file = np.load(opened, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise ConfigError(f"{path} holds one array without a name: save them with np.savez")
            found = {name: file[name] for name in file.files}
    except ConfigError:
        raise
    except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
        # Of what is no archive numpy says that it might be a pickle, and how to load that.
        why = error.strerror if isinstance(error, OSError) else "it is no whole archive"
        raise ConfigError(
            f"cannot read {path} as an .npz file: {why}: give one that numpy.savez wrote, with an array for each input"
        ) from error
    for name in found:
        if name not in dtypes:
            raise ConfigError(f"{path}: '{name}' is no input{nearest(name, dtypes)}")
    if missing := [name for name in dtypes if name not in found]:
        raise ConfigError(f"{path} has no array for {', '.join(missing)}")
    for name, array in found.items():
        if not np.can_cast(array.dtype, dtypes[name], "same_kind"):
            raise ConfigError(
                f"{path}: '{name}' is {array.dtype}, the compiled model takes {dtypes[name]}: convert it"
            )
    return {name: found[name].astype(dtype) for name, dtype in dtypes.items()}


def fitted(
    arrays: Mapping[str, Array],
    shapes: Mapping[str, tuple[int, ...]],
    open_axes: Mapping[str, Collection[int]],
) -> tuple[dict[str, Array], list[str]]:
    """Arrays cut or repeated to a gear's shapes, and in words what was done.

    Args:
        arrays: by input.
        shapes: of the gear, by input.
        open_axes: the axes whose sizes gears decide, by input; on others nothing is cut or repeated.

    Raises:
        ConfigError: an array has another number of axes, another size on a fixed axis, or nothing on an open one.
    """
    made, notes = {}, []
    for name, shape in shapes.items():
        array = arrays[name]
        free = set(open_axes.get(name, ()))
        if array.ndim != len(shape) or any(
            have != want and (axis not in free or not have)
            for axis, (have, want) in enumerate(zip(array.shape, shape, strict=False))
        ):
            shown = [-1 if axis in free else size for axis, size in enumerate(shape)]
            raise ConfigError(
                f"input '{name}' has shape {list(array.shape)}, the compiled model takes {shown}"
            )
        for axis, want in enumerate(shape):
            have = array.shape[axis]
            if have != want:
                verb = "cut" if have > want else "repeated"
                notes.append(f"input '{name}': axis {axis} {verb} from {have} to {want}")
                array = np.take(array, np.arange(want) % have, axis)
        made[name] = array
    return made, notes
