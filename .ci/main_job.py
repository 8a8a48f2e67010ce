"""The main job: `main_job.py COMMAND...` serves the shipped model and uses it as a newcomer would."""

import subprocess
import sys
from pathlib import Path

import httpx
from leftovers import assert_nothing_left
from server import URL, serving

ROOT = Path(__file__).resolve().parents[1]
IMAGES = sorted(str(path) for path in (ROOT / "examples/digits/images").glob("*.png"))


def run(*command: str) -> None:
    print("$", " ".join(command[:2]), f"… ({len(command) - 2} arguments)", flush=True)
    if status := subprocess.run(command, cwd=ROOT, check=False).returncode:
        sys.exit(f"{command[1]} ended with {status}")


def refuse_bad_request() -> None:
    body = {"inputs": [{"name": "imagee", "shape": [1, 1], "datatype": "FP32", "data": [0.0]}]}
    answer = httpx.post(f"{URL}/v2/models/resnet/infer", json=body, timeout=30)
    if answer.status_code != 400 or "imagee" not in answer.json()["error"]:
        sys.exit(f"a bad request got {answer.status_code}: {answer.text}")
    print("a bad request got 400:", answer.json()["error"])


def main() -> None:
    assert len(IMAGES) >= 10, "the held-out pictures are missing"
    with serving(sys.argv[1:], "resnet"):
        # Both compare every label with the picture's own and end with 1 if one is wrong.
        run(sys.executable, "examples/digits/client.py", *IMAGES)
        run(sys.executable, "examples/handle_client.py", *IMAGES)
        refuse_bad_request()
        run(sys.executable, "examples/digits/client.py", *IMAGES[:3])
    assert_nothing_left()


main()
