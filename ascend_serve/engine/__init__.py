"""The engine: tensors in, tensors out, and batches between; see `engine.engine`."""

from ascend_serve.engine.engine import Elsewhere, Engine
from ascend_serve.engine.request import Request, Results
from ascend_serve.engine.runner import Runner
from ascend_serve.engine.state import EngineState

__all__ = ["Elsewhere", "Engine", "EngineState", "Request", "Results", "Runner"]
