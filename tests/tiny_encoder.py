"""A sentence encoder of the size of a thumb: seeded weights, a tokeniser of a few words, and what it must compute.

`embeddings` is numpy alone, float64, and written from Devlin et al. 2019 and not from the graph under test.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import erf
from pathlib import Path
from typing import Any

import numpy as np
import yaml

Array = np.ndarray[Any, Any]

HIDDEN, INNER, HEADS, LAYERS = 32, 64, 4, 2
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
WORDS = ("a", "gear", "is", "shape", "text", "##s", "##less", "ü", "机", ".", "!", "0", "1", "2")
VOCABULARY = (*SPECIAL, *WORDS)
PLACES = 64

CONFIG: dict[str, Any] = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "hidden_size": HIDDEN,
    "intermediate_size": INNER,
    "num_attention_heads": HEADS,
    "num_hidden_layers": LAYERS,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": PLACES,
    "vocab_size": len(VOCABULARY),
}

TOKENIZER = json.dumps(
    {
        "version": "1.0",
        # As in the shipped model's file: both are to be left aside.
        "truncation": {"max_length": 4, "strategy": "LongestFirst", "stride": 0, "direction": "Right"},
        "padding": {
            "strategy": {"Fixed": 4},
            "direction": "Right",
            "pad_to_multiple_of": None,
            "pad_id": 0,
            "pad_type_id": 0,
            "pad_token": "[PAD]",
        },
        "added_tokens": [
            {
                "id": number,
                "special": True,
                "content": token,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
            }
            for number, token in enumerate(SPECIAL)
        ],
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": True,
            "strip_accents": False,
            "lowercase": True,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [
                {"SpecialToken": {"id": "[CLS]", "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}},
                {"SpecialToken": {"id": "[SEP]", "type_id": 0}},
            ],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {
                "[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]},
                "[SEP]": {"id": "[SEP]", "ids": [3], "tokens": ["[SEP]"]},
            },
        },
        "decoder": None,
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": {token: number for number, token in enumerate(VOCABULARY)},
        },
    }
)


def ids_of(*tokens: str) -> list[int]:
    """Ids of a text's tokens, with those around them."""
    return [VOCABULARY.index(token) for token in ("[CLS]", *tokens, "[SEP]")]


def weights(seed: int = 6) -> dict[str, Array]:
    """Seeded weights by Hugging Face's names, float32."""
    random = np.random.default_rng(seed)
    found: dict[str, Array] = {}

    def add(name: str, *shape: int, scale: float = 1.0, around: float = 0.0) -> None:
        found[name] = (around + scale * random.standard_normal(shape)).astype(np.float32)

    def linear(name: str, out: int, given: int) -> None:
        add(f"{name}.weight", out, given, scale=1.5 * given**-0.5)
        add(f"{name}.bias", out, scale=0.3)

    def norm(name: str) -> None:
        add(f"{name}.weight", HIDDEN, scale=0.2, around=1.0)
        add(f"{name}.bias", HIDDEN, scale=0.2)

    for kind, count in (("word", len(VOCABULARY)), ("position", PLACES), ("token_type", 2)):
        add(f"embeddings.{kind}_embeddings.weight", count, HIDDEN)
    norm("embeddings.LayerNorm")
    for number in range(LAYERS):
        layer = f"encoder.layer.{number}"
        for part in ("query", "key", "value"):
            linear(f"{layer}.attention.self.{part}", HIDDEN, HIDDEN)
        linear(f"{layer}.attention.output.dense", HIDDEN, HIDDEN)
        norm(f"{layer}.attention.output.LayerNorm")
        linear(f"{layer}.intermediate.dense", INNER, HIDDEN)
        linear(f"{layer}.output.dense", HIDDEN, INNER)
        norm(f"{layer}.output.LayerNorm")
    return found


def embeddings(texts: Sequence[Sequence[int]], told: dict[str, Array]) -> Array:
    """What the encoder gives for each text's token ids, one text at a time and without any padding."""
    return np.stack([_embedding(np.array(ids), told) for ids in texts])


def _embedding(ids: Array, told: dict[str, Array]) -> Array:
    wide = {name: array.astype(np.float64) for name, array in told.items()}

    def linear(x: Array, name: str) -> Array:
        return x @ wide[f"{name}.weight"].T + wide[f"{name}.bias"]

    def norm(x: Array, name: str) -> Array:
        unit = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + CONFIG["layer_norm_eps"])
        return unit * wide[f"{name}.weight"] + wide[f"{name}.bias"]

    tables = [wide[f"embeddings.{kind}_embeddings.weight"] for kind in ("word", "position", "token_type")]
    x = norm(tables[0][ids] + tables[1][: len(ids)] + tables[2][0], "embeddings.LayerNorm")
    size = HIDDEN // HEADS
    for number in range(LAYERS):
        layer = f"encoder.layer.{number}"
        query, key, value = (
            linear(x, f"{layer}.attention.self.{part}").reshape(len(ids), HEADS, size)
            for part in ("query", "key", "value")
        )
        mixed = np.empty((len(ids), HEADS, size))
        for head in range(HEADS):
            scores = query[:, head] @ key[:, head].T / np.sqrt(size)
            shares = np.exp(scores - scores.max(-1, keepdims=True))
            mixed[:, head] = shares / shares.sum(-1, keepdims=True) @ value[:, head]
        attended = linear(mixed.reshape(len(ids), HIDDEN), f"{layer}.attention.output.dense")
        x = norm(x + attended, f"{layer}.attention.output.LayerNorm")
        inner = linear(x, f"{layer}.intermediate.dense")
        inner = inner * _normal_share(inner)  # GELU
        x = norm(x + linear(inner, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
    mean = x.mean(0)
    return np.asarray(mean / np.linalg.norm(mean))


def _normal_share(x: Array) -> Array:
    """The standard normal distribution's share below x."""
    return np.vectorize(lambda value: (1 + erf(value / 2**0.5)) / 2)(x)


def cosines(a: Array, b: Array) -> Array:
    """Cosine of each row of one with the same row of the other."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    return np.asarray((a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)))


def write_folder(folder: Path) -> Path:
    """The encoder as sentence-transformers lays it out."""
    from safetensors.numpy import save_file

    (folder / "1_Pooling").mkdir(parents=True)
    save_file(weights(), folder / "model.safetensors")
    kinds = {"": "Transformer", "1_Pooling": "Pooling", "2_Normalize": "Normalize"}
    for path, told in {
        "config.json": CONFIG,
        "modules.json": [
            {"idx": number, "path": path, "type": f"sentence_transformers.models.{kind}"}
            for number, (path, kind) in enumerate(kinds.items())
        ],
        "1_Pooling/config.json": {"word_embedding_dimension": HIDDEN, "pooling_mode_mean_tokens": True},
    }.items():
        (folder / path).write_text(json.dumps(told))
    (folder / "tokenizer.json").write_text(TOKENIZER)
    return folder


def write_recipe(source: Path, path: Path) -> Path:
    """A recipe for it: 1 or 4 texts of up to 8 or 16 tokens."""
    gears = [[rows, length] * 2 for rows in (1, 4) for length in (8, 16)]
    told = {
        "name": "tiny",
        "source": str(source),
        "input_format": "ND",
        "inputs": {"input_ids": [-1, -1], "attention_mask": [-1, -1]},
        "dims_gears": gears,
        "precision": "fp16",
    }
    path.write_text(yaml.safe_dump(told))
    return path
