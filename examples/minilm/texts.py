"""Texts of many kinds, by which embeddings are compared: short and long ones, of several scripts, and odd ones.

`texts()` makes them; the long ones run past the 256 tokens that all-MiniLM-L6-v2 takes of a text.
"""

from __future__ import annotations

_SHORT = (
    "a",
    "7",
    "?",
    "No.",
    "cat",
    "Hello, world!",
    "the the the the",
    "ANTIDISESTABLISHMENTARIANISM",
    "Where is the nearest bank?",
    "We sat on the river bank until dark.",
    "The bank raised its interest rates again.",
    "A man is eating food.",
    "A man is eating a piece of bread.",
    "A man is riding a white horse on an enclosed ground.",
    "A cheetah is running behind its prey.",
    "She did not say that he was wrong.",
    "He did not say that she was wrong.",
    "How do I reset my password?",
    "I forgot my login and cannot get in any more.",
    "Refund for order 4711-0815, paid twice on 2024-02-29 (USD 1,299.95)",
)
_MIDDLE = (
    "An accelerator runs a compiled model at one of several batch sizes, and padding fills what is left.",
    "When a request comes while the device is busy, it may join the next batch instead of running alone.",
    "The treaty was signed in 1648 after four years of talks, and it ended thirty years of war in central Europe.",
    "Photosynthesis turns light, water and carbon dioxide into sugar and oxygen, and nearly all life depends on it.",
    "Simmer the onions until they are soft, add the rice, and stir until it is glassy before the stock goes in.",
    "To the moon and back: three astronauts, one computer of 74 kilobytes, and a landing with seconds of fuel left.",
    "Supply fell, prices rose, and those who had stored grain in autumn sold it dearly in spring.",
    "Patients with a history of penicillin allergy should be given a macrolide instead, unless contraindicated.",
)
_SCRIPTS = (
    "Überraschung: die Straße ist naß, und Öl schwimmt obenauf.",
    "L'été dernier, où étiez-vous ? À Besançon, chez Noël.",
    "¿Dónde está el baño, señorita?",
    "Zażółć gęślą jaźń",
    "Быстрая коричневая лиса прыгает через ленивую собаку.",
    "γρήγορη αλεπού πηδά πάνω από το σκυλί.",
    "机器学习模型在加速卡上运行。",
    "東京は日本の首都です。",
    "서울은 대한민국의 수도이다.",
    "القاهرة هي عاصمة مصر.",
    "ירושלים של זהב",
    "मुझे हिंदी में एक वाक्य चाहिए।",
    "ภาษาไทยไม่มีช่องว่างระหว่างคำ",
    "Tiếng Việt có dấu thanh.",
    "cafe\u0301 and caf\u00e9 are one word, written twice",
    "\uff26\uff55\uff4c\uff4c\uff57\uff49\uff44\uff54\uff48 letters and \u210c\U0001d522\U0001d529\U0001d529\U0001d52c",
)
_ODD = (
    "\U0001f600\U0001f680 ship it \U0001f44d\U0001f3fd",
    "tabs\tand\nnew\r\nlines\u00a0and\u2003wide\u200bspaces",
    "a\u0000b\ufffdc\u0007d",
    "[CLS] brackets [SEP] that mean [MASK] something [UNK] [PAD]",
    "def add(a: int, b: int) -> int:\n    return a + b  # sums",
    "SELECT name, COUNT(*) FROM users WHERE age >= 18 GROUP BY name;",
    '<p class="lead">Fish &amp; chips &mdash; &pound;9</p>',
    "https://example.com/a/b?c=d&e=f#g and user@example.org",
    '{"key": [1, 2.5, -3e10, null, true], "nested": {"a": "b"}}',
    "3.14159265358979323846264338327950288",
    "!!!??? ... ;;; --- ((( ))) *** /// \\\\\\",
    "x" * 99,
    "x" * 101,
    "don't can't won't it's o'clock rock'n'roll",
    "   spaces   around   ",
    "E = mc\u00b2, \u2211\u2071 \u221a2 \u2248 1.414, 90\u00b0, \u00bd cup, \u2116 5",
)


def texts() -> list[str]:
    """All texts, in an order of their own that mixes lengths."""
    story = " ".join(_MIDDLE)
    long = [
        " ".join([_MIDDLE[0]] * 3),
        story,
        " ".join([story] * 2),
        " ".join([story] * 5),
        "word " * 253 + "end",
        "word " * 254 + "cut",
        "word " * 2000,
        " ".join(_SCRIPTS),
        "\u673a" * 400,
        " ".join(str(number) for number in range(300)),
    ]
    found = [*_SHORT, *_MIDDLE, *_SCRIPTS, *_ODD, *long]
    return [found[index * 37 % len(found)] for index in range(len(found))]
