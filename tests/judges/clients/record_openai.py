"""Record what OpenAI's client sends, for the replay in `tests/unit/test_recorded_openai.py`; nothing is sent.

Run it in the environment of the judge openai, with its output in `tests/unit/data/openai_calls.json`.
"""

import base64
import json
import sys
from importlib.metadata import version

import httpx2
from openai import APIStatusError, OpenAI

NAME = "tiny"
KEPT = ("authorization", "content-type", "accept", "accept-encoding")


def main():
    """Method, path, headers and body of each call."""
    calls = []

    def record(request):
        calls.append(
            {
                "method": request.method,
                "path": request.url.path,
                "headers": {name: request.headers[name] for name in KEPT if name in request.headers},
                "body": base64.b64encode(request.read()).decode(),
            }
        )
        return httpx2.Response(418)

    client = OpenAI(
        base_url="http://server/v1",
        api_key="0123456789abcdef",
        max_retries=0,
        http_client=httpx2.Client(transport=httpx2.MockTransport(record)),
    )
    create = client.embeddings.create
    for title, call, options in (
        ("one text", create, {"input": "a gear"}),
        ("several texts", create, {"input": ["a gear.", "機 texts", "a"]}),
        ("floats", create, {"input": ["Ü!", "is"], "encoding_format": "float", "user": "somebody"}),
        ("token ids of one", create, {"input": [2, 4, 5, 3]}),
        ("token ids of several", create, {"input": [[2, 4, 3], [2, 4, 5, 3]]}),
        ("its own dimensions", create, {"input": "a", "dimensions": 32}),
        ("other dimensions", create, {"input": "a", "dimensions": 16}),
        ("an empty text", create, {"input": ["a", ""]}),
        ("another model", create, {"input": "a", "model": "text-embedding-3-small"}),
        ("list models", client.models.list, None),
        ("one model", client.models.retrieve, {"model": NAME}),
    ):
        try:
            call(**({} if options is None else {"model": NAME, **options}))
        except APIStatusError:
            calls[-1] = {"title": title, **calls[-1]}
    json.dump({"openai": version("openai"), "http": calls}, sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
