"""Networks made ready to run by the ONNX runtime."""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from ascend_emulator.codes import GE_LOAD_MODEL, RT_MODEL_EXECUTE, Failure


class Network:
    """One network made ready to run; shared by all loads of the same content on a card."""

    def __init__(self, content: bytes) -> None:
        import onnxruntime  # type: ignore[import-untyped]  # it ships no types

        from ascend_emulator.ort_errors import RUNTIME_ERRORS

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self.session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except RUNTIME_ERRORS as error:
            raise Failure(GE_LOAD_MODEL, f"E19999: the network cannot be loaded: {error}") from error
        self._errors = RUNTIME_ERRORS
        self.input_names = [value.name for value in self.session.get_inputs()]
        self.output_names = [value.name for value in self.session.get_outputs()]

    def run_bound(self, binding: Any) -> None:
        """Run on bound buffers.

        Raises:
            Failure: 507011, the network failed on these values.
        """
        try:
            self.session.run_with_iobinding(binding)
        except self._errors as error:
            raise Failure(RT_MODEL_EXECUTE, f"E19999: the execution failed: {error}") from error

    def run(self, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """Run on arrays of any shape the network takes, into arrays of its own.

        Raises:
            Failure: 507011, the network failed on these values or shapes.
        """
        try:
            results: list[NDArray[Any]] = self.session.run(
                self.output_names, dict(zip(self.input_names, inputs, strict=True))
            )
        except self._errors as error:
            raise Failure(RT_MODEL_EXECUTE, f"E19999: the execution failed: {error}") from error
        return results


class Networks:
    """The networks in use on a card, by content, so that a second load of the same file is quick."""

    def __init__(self) -> None:
        self._networks: weakref.WeakValueDictionary[bytes, Network] = weakref.WeakValueDictionary()

    def get(self, content: bytes) -> Network:
        """The network with that ONNX content.

        Raises:
            Failure: 545001, onnxruntime refuses it.
        """
        key = hashlib.sha256(content).digest()
        network = self._networks.get(key)
        if network is None:
            network = self._networks[key] = Network(content)
        return network
