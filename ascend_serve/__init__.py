"""The Huawei Ascend backend for Ray Serve: compile models with ATC, keep them, serve them.

The public names, each loaded when it is first asked for: importing this package loads neither `acl` nor `ray`.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    # what to compile
    "CompileRecipe": "ascend_serve.spec.recipe",
    "load_recipe": "ascend_serve.compiling.recipes",
    "import_atc": "ascend_serve.compiling.importing.import_atc",
    "import_script": "ascend_serve.compiling.importing.import_atc",
    "propose": "ascend_serve.compiling.init_recipe",
    "preflight": "ascend_serve.compiling.preflight",
    # compiling it
    "compile_recipes": "compile_jobs.tasks",
    "compile_target": "ascend_serve.compiling.build",
    "diagnose": "ascend_serve.compiling.diagnosis.diagnose",
    "verify": "ascend_serve.verifying",
    # what came of it
    "Store": "ascend_serve.artifacts.store",
    "Artifact": "ascend_serve.artifacts.store",
    "import_om": "ascend_serve.artifacts.importing",
    "read_om_file": "ascend_serve.artifacts.om.file",
    "report": "ascend_serve.artifacts.om.report",
    "differences": "ascend_serve.artifacts.om.report",
    "fitness": "ascend_serve.artifacts.om.fitness",
    # running it
    "AscendPredictor": "ascend_serve.predictor",
    "Processor": "ascend_serve.processing.processor",
    "ProcessorSettings": "ascend_serve.processing.processor",
    "ProcessorDoor": "ascend_serve.processing.processor",
    "Payload": "ascend_serve.processing.processor",
    "Decoded": "ascend_serve.processing.processor",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ascend_serve' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
