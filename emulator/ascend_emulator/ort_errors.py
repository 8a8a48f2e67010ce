"""What the ONNX runtime raises, which its Python package does not say in one place."""

from __future__ import annotations

from onnxruntime.capi import onnxruntime_pybind11_state as _state  # type: ignore[import-untyped]  # no types

RUNTIME_ERRORS: tuple[type[Exception], ...] = (
    *(found for found in vars(_state).values() if isinstance(found, type) and issubclass(found, Exception)),
    RuntimeError,
    UnicodeDecodeError,
)
"""Its own exceptions, which have no common ancestor below Exception; what it raises without naming it; and the failure
to decode a message of its own that quotes a broken model."""
