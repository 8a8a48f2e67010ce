"""Models for contract tests: networks as text, compiled with the `atc` at hand, loaded with a set of buffers."""

import glob
import subprocess
from pathlib import Path

import acl
import numpy as np
import onnx

from tests.contract.tools import installed_atc

HIDDEN = "ascend_mbatch_shape_data"
_NUMPY = {0: np.float32, 1: np.float16, 3: np.int32, 4: np.uint8, 9: np.int64, 12: np.bool_}
_TIMEOUT_S = 180


def compiled(folder: Path, name: str, network: str, *options: str) -> Path:
    """Compile a network, given as the text of an ONNX graph, for the SoC at hand; results keep their types."""
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> {network}')
    onnx.save(model, folder / f"{name}.onnx")
    atc = installed_atc()
    common = [
        "--framework=5",
        f"--soc_version={acl.get_soc_name()}",
        "--precision_mode=must_keep_origin_dtype",
    ]
    command = [atc, *common, f"--model={folder}/{name}.onnx", f"--output={folder}/{name}", *options]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=folder, timeout=_TIMEOUT_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    # A model of truly dynamic shape has the host in its name.
    (found,) = glob.glob(f"{folder}/{name}.om") or glob.glob(f"{folder}/{name}_linux_*.om")
    return Path(found)


class Loaded:
    """A loaded model with a dataset of inputs and one of outputs, each buffer in device memory of its own.

    `room` is what a buffer gets whose size the model does not tell; 0: no memory.
    """

    def __init__(self, source: Path | int, room: int = 4096) -> None:
        if isinstance(source, int):
            self.model, ret = source, 0
        else:
            self.model, ret = acl.mdl.load_from_file(str(source))
        assert ret == 0, acl.get_recent_err_msg()
        self.desc = acl.mdl.create_desc()
        assert acl.mdl.get_desc(self.desc, self.model) == 0
        self.inputs, self.outputs = acl.mdl.create_dataset(), acl.mdl.create_dataset()
        for index in range(acl.mdl.get_num_inputs(self.desc)):
            add_buffer(self.inputs, acl.mdl.get_input_size_by_index(self.desc, index) or 4096)
        for index in range(acl.mdl.get_num_outputs(self.desc)):
            add_buffer(self.outputs, acl.mdl.get_output_size_by_index(self.desc, index) or room)

    def close(self, *, unload: bool = True) -> None:
        if unload:
            assert acl.mdl.unload(self.model) == 0
        assert acl.mdl.destroy_desc(self.desc) == 0
        for dataset in (self.inputs, self.outputs):
            for index in range(acl.mdl.get_dataset_num_buffers(dataset)):
                buffer = acl.mdl.get_dataset_buffer(dataset, index)
                address = acl.get_data_buffer_addr(buffer)
                assert not address or acl.rt.free(address) == 0
                assert acl.destroy_data_buffer(buffer) == 0
            assert acl.mdl.destroy_dataset(dataset) == 0

    @property
    def hidden(self) -> int:
        index, ret = acl.mdl.get_input_index_by_name(self.desc, HIDDEN)
        assert ret == 0
        return index

    def put(self, index: int, values: np.ndarray, *, describe: bool = False) -> None:
        buffer = acl.mdl.get_dataset_buffer(self.inputs, index)
        address, size = acl.get_data_buffer_addr(buffer), acl.get_data_buffer_size_v2(buffer)
        if values.nbytes:
            assert acl.rt.memcpy(address, size, values.ctypes.data, values.nbytes, 1) == 0
        if describe:
            dtype = next(number for number, kind in _NUMPY.items() if kind == values.dtype)
            desc = acl.create_tensor_desc(dtype, list(values.shape), 2)
            assert acl.mdl.set_dataset_tensor_desc(self.inputs, desc, index) == (self.inputs, 0)
            acl.destroy_tensor_desc(desc)

    def run(self) -> int:
        return acl.mdl.execute(self.model, self.inputs, self.outputs)

    def take(self, shape: tuple[int, ...], index: int = 0) -> np.ndarray:
        out = np.empty(shape, _NUMPY[acl.mdl.get_output_data_type(self.desc, index)])
        address = acl.get_data_buffer_addr(acl.mdl.get_dataset_buffer(self.outputs, index))
        if out.nbytes:
            assert acl.rt.memcpy(out.ctypes.data, out.nbytes, address, out.nbytes, 2) == 0
        return out

    def output_dims(self, index: int = 0) -> list[int] | None:
        """What the dataset's tensor description says; None where there is none."""
        desc = acl.mdl.get_dataset_tensor_desc(self.outputs, index)
        if not desc:
            return None
        return [
            acl.get_tensor_desc_dim_v2(desc, axis)[0] for axis in range(acl.get_tensor_desc_num_dims(desc))
        ]


def add_buffer(dataset: int, size: int) -> int:
    """Append a buffer of that many bytes of device memory, of none where it is 0; its handle."""
    address = 0
    if size:
        address, ret = acl.rt.malloc(size, 0)
        assert ret == 0
    buffer: int = acl.create_data_buffer(address, size)
    assert acl.mdl.add_dataset_buffer(dataset, buffer) == (dataset, 0)
    return buffer
