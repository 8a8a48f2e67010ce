"""From texts to token ids, by a tokeniser that Hugging Face's `tokenizers` reads (`tokenizer.json`).

What a file says of padding and of truncation is not heeded: lengths are the model's and the setting's affair here (that
of all-MiniLM-L6-v2 cuts and pads at 128, where the model's own reference takes 256).

Rests on the documentation of `tokenizers.Tokenizer`. `encode_batch_fast` releases the GIL, and spreads texts over the
cores; `TOKENIZERS_PARALLELISM=false` in the replica's environment keeps it to the thread that calls.
"""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import Tokenizer

from ascend_serve.errors import ConfigError


class Texts:
    """A tokeniser. May be used by several threads at a time.

    Args:
        told: what `tokenizer.json` holds.
        most_tokens: what texts are cut to, special tokens included, which stay; None leaves them whole.

    Raises:
        ConfigError: it is no tokeniser's file, or `most_tokens` leaves no room for a token of the text.
    """

    def __init__(self, told: str, most_tokens: int | None) -> None:
        try:
            self._tokenizer = Tokenizer.from_str(told)
        except Exception as error:  # noqa: BLE001 - the library raises no narrower class
            raise ConfigError(f"tokenizer: what the file holds is no tokeniser: {error}") from None
        special = self._tokenizer.num_special_tokens_to_add(False)
        if most_tokens is not None and most_tokens <= special:
            raise ConfigError(
                f"max_tokens is {most_tokens}, and the tokeniser adds {special} to every text: none of its own is left"
            )
        padding = self._tokenizer.padding
        self.padding: int = 0 if padding is None else padding["pad_id"]
        """The id that fills a row up to its length."""
        # There may be more than are counted: an id that no token has leaves a gap, and ids go on behind it.
        self.vocabulary: int = max(self._tokenizer.get_vocab().values(), default=-1) + 1
        """A number above every id."""
        self._tokenizer.no_padding()
        if most_tokens is None:
            self._tokenizer.no_truncation()
        else:
            self._tokenizer.enable_truncation(most_tokens)

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text, with the special tokens that the model wants around it."""
        return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(list(texts))]
