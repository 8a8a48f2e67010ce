"""What is wrong with settings, in one line: pydantic's findings with the paths and words of whoever wrote the file."""

from __future__ import annotations

from pydantic import BaseModel, ValidationError

from ascend_serve.spec.closed import keys_at, written_path
from ascend_serve.spec.text import nearest


def describe_faults(error: ValidationError, model: type[BaseModel], where: str) -> str:
    """Pydantic's findings in one line: `args.batching.slot: unknown key; did you mean 'slots'?`."""
    faults = []
    for fault in error.errors():
        location = written_path(fault["loc"])
        path = ".".join(filter(None, [where, *map(str, location)]))
        if fault["type"] == "extra_forbidden":
            faults.append(f"{path}: unknown key{nearest(str(location[-1]), keys_at(model, location[:-1]))}")
        elif fault["type"] == "missing":
            faults.append(f"{path}: this key is missing")
        else:
            message = fault["msg"].removeprefix("Value error, ").rstrip(".")
            shown = "" if fault["type"] == "value_error" else f" (got {fault['input']!r})"
            faults.append(f"{path}: {message}{shown}")
    return "; ".join(dict.fromkeys(faults))
