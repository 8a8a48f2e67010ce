"""Embed sentences at several gears: `python examples/compile/encoder/run.py`.

Compiles the recipe for the SoC of device 0 unless the store has it, pads each sentence to the gears that hold it, and
shows that its embedding does not depend on the padding, as long as the mask tells of it. Ends with status 1 if it
does.
"""

from __future__ import annotations

import re
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from make_model import WORDS

from ascend_serve import Store, compile_target, load_recipe
from ascend_serve.env import store_url
from ascend_serve.runtime.device import Device
from ascend_serve.runtime.trial import Gear, Trial
from ascend_serve.verifying import gate
from ascend_serve.verifying.verification import soc_here

HERE = Path(__file__).resolve().parent
SENTENCES = (
    "A gear is a shape that the model was compiled for.",
    "Padding fills the rest.",
    "The mask says which words are there, so that attention and the mean leave the padding out, whichever gear runs.",
)
PADDING = 0
CLOSE = 1e-2
"""Largest difference of an embedding's element, in half precision; embeddings have length 1."""


def words_to_ids(sentence: str) -> list[int]:
    """Turn words into ids by a hash; a real encoder brings its own tokeniser."""
    words = re.findall(r"\w+|[^\w\s]", sentence.lower())
    return [1 + zlib.crc32(word.encode()) % (WORDS - 1) for word in words]


def smallest_gear(gears: Sequence[Gear], rows: int, words: int) -> Gear:
    """The gear with the fewest elements that holds so many sentences of so many words."""
    return min(
        (gear for gear in gears if gear[0] >= rows and gear[1] >= words), key=lambda gear: gear[0] * gear[1]
    )


def padded(sentences: Sequence[Sequence[int]], gear: Gear) -> dict[str, npt.NDArray[np.int64]]:
    """Ids and mask of the gear's shape; what no sentence fills is padding, and masked."""
    rows, words = gear[:2]
    ids = np.full((rows, words), PADDING, np.int64)
    mask = np.zeros((rows, words), np.int64)
    for row, sentence in enumerate(sentences):
        ids[row, : len(sentence)] = sentence
        mask[row, : len(sentence)] = 1
    return {"input_ids": ids, "attention_mask": mask}


def embed(trial: Trial, sentences: Sequence[Sequence[int]], gear: Gear) -> npt.NDArray[Any]:
    """The embeddings of some sentences, `[sentences, features]`, run at a gear."""
    return trial.run(padded(sentences, gear), gear)["sentence"][: len(sentences)]


def main() -> int:
    """Embed each sentence by itself and in larger gears; return the exit status."""
    recipe = load_recipe(HERE / "recipe.yaml")
    ids = [words_to_ids(sentence) for sentence in SENTENCES]
    worst = 0.0
    artifact = compile_target(recipe, soc_here(), Store(store_url()), gate=gate)
    with Device.open() as device, Trial.open(device, artifact.fetch(), order=recipe.input_names) as trial:
        together = smallest_gear(trial.gears, len(ids), max(map(len, ids)))
        batch = embed(trial, ids, together)
        for sentence, alone in zip(ids, batch, strict=True):
            own = smallest_gear(trial.gears, 1, len(sentence))
            for gear in (gear for gear in trial.gears if gear[1] >= len(sentence)):
                difference = float(np.abs(embed(trial, [sentence], gear)[0] - alone).max())
                worst = max(worst, difference)
                note = "  the smallest that fits" if gear == own else ""
                print(
                    f"{len(sentence):2} words at gear {gear[0]} x {gear[1]}: differs by {difference:.1e}{note}"
                )
        unmasked = padded(ids[:1], together)
        unmasked["attention_mask"][:] = 1
        wrong = trial.run(unmasked, together)["sentence"][0]
        print(f"all at gear {together[0]} x {together[1]}: the embeddings compared with")
        print(f"without a mask the first would differ by {float(np.abs(wrong - batch[0]).max()):.1e}")
    return 0 if worst < CLOSE else 1


if __name__ == "__main__":
    sys.exit(main())
