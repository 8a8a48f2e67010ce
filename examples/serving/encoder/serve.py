"""Serve sentences of different lengths through one engine: `python examples/serving/encoder/serve.py`.

The encoder of `examples/compile/encoder`, compiled for 1 or 4 sentences of up to 16 or 64 words. Each request is one
sentence of its own length. It is padded to the shortest length that was compiled, shares runs with whoever comes at
the same time, and gets the embedding that it gets alone; the status is 1 if it does not.
"""

from __future__ import annotations

import asyncio
import re
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ascend_serve import Store, compile_target, load_recipe
from ascend_serve.artifacts.artifact import Artifact
from ascend_serve.batching.journal import Event, Sealed
from ascend_serve.batching.policy import policy_named
from ascend_serve.engine import Engine
from ascend_serve.env import store_url
from ascend_serve.runtime.device import Device
from ascend_serve.runtime.lane import Lane
from ascend_serve.runtime.session import Session
from ascend_serve.spec.padding import PaddedLength
from ascend_serve.verifying import gate
from ascend_serve.verifying.verification import soc_here

ENCODER = Path(__file__).resolve().parents[2] / "compile/encoder"
VOCABULARY = 2000
WORDS = PaddedLength(inputs={"input_ids": 1, "attention_mask": 1})
"""Axis 1 of both inputs is the length of the sentence; what is padded is 0, which the mask takes for absent."""
SENTENCES = (
    "Padding fills the rest.",
    "A gear is a shape that the model was compiled for.",
    "Short ones share a run.",
    "The mask says which words are there, so that attention and the mean leave the padding out, whichever gear runs.",
    "Each is cut to its own length again where an output has one.",
    "Done.",
    "A sentence of more than sixteen words has to run at the longer of the two lengths, and it waits for no other one.",
)
LIMIT_S = 60.0
CLOSE = 1e-2
"""Largest difference of an embedding's element, in half precision; embeddings have length 1."""

Arrays = dict[str, npt.NDArray[Any]]


class Batches:
    """A journal that keeps the batches alone."""

    def __init__(self) -> None:
        self.sealed: list[Sealed] = []

    def note(self, event: Event) -> None:
        """Keep a batch."""
        if isinstance(event, Sealed):
            self.sealed.append(event)


def request(sentence: str) -> Arrays:
    """A sentence as ids by a hash, one row of its own length; a real encoder brings its own tokeniser."""
    words = re.findall(r"\w+|[^\w\s]", sentence.lower())
    ids = np.array([[1 + zlib.crc32(word.encode()) % (VOCABULARY - 1) for word in words]], np.int64)
    return {"input_ids": ids, "attention_mask": np.ones_like(ids)}


def open_sessions(artifact: Artifact) -> list[Session]:
    """Load the model on the first device. Runs on the lane."""
    device = Device.open()
    try:
        path = artifact.fetch()
    except BaseException:
        device.close()
        raise
    return [Session.open(device, path, artifact.spec, order=artifact.input_order, close_device=True)]


async def serve(artifact: Artifact) -> float:
    """Embed all sentences at once, then each alone; print the batches and return the largest difference."""
    lane = Lane(lambda: open_sessions(artifact))
    (report,) = await asyncio.to_thread(lane.start, LIMIT_S)
    try:
        batches = Batches()
        engine = Engine(
            report.spec,
            lane.runner(0),
            slots=report.slots,
            times=report.times,
            policy=policy_named("optimal"),
            max_queued_rows=64,
            padded=[WORDS],
            journal=batches,
        )
        await engine.prepared()
        requests = [request(sentence) for sentence in SENTENCES]
        together = await asyncio.gather(*map(engine.submit, requests))
        for batch in batches.sealed:
            (length,) = report.spec.buckets[batch.bucket].shapes["input_ids"]
            own = [requests[ticket]["input_ids"].shape[1] for ticket, _, _ in batch.pieces]
            print(f"sentences of {own} words ran together at gear {batch.gear} x {length}")
        alone = [await engine.submit(tensors) for tensors in requests]
        await engine.drain()
    finally:
        await asyncio.to_thread(lane.close, LIMIT_S)
    return max(
        float(np.abs(one["sentence"] - other["sentence"]).max())
        for one, other in zip(together, alone, strict=True)
    )


def main() -> int:
    """Compile the encoder unless the store has it, serve it, and return the exit status."""
    if not (ENCODER / "build/encoder.onnx").is_file():
        print(f"there is no network yet: python {ENCODER / 'make_model.py'}", file=sys.stderr)
        return 1
    artifact = compile_target(load_recipe(ENCODER / "recipe.yaml"), soc_here(), Store(store_url()), gate=gate)
    worst = asyncio.run(serve(artifact))
    print(f"served alone, the embeddings differ by {worst:.1e}")
    return 0 if worst < CLOSE else 1


if __name__ == "__main__":
    sys.exit(main())
