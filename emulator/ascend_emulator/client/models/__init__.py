"""Models as a process sees them (facts/pyacl.md §9, §11, §12), a file per subject; `registry` knows what is loaded."""

from ascend_emulator.client.models.registry import check_model, is_ready, set_executor

__all__ = ["check_model", "is_ready", "set_executor"]
