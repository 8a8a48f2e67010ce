"""Who asks: curl with a picture, Serve applications, Ray tasks and plain drivers."""

import asyncio
import contextlib
import http.client
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.serve.deploying import Deploy
from tests.serve.tools import ROOT

pytestmark = pytest.mark.serve

Array = np.ndarray[Any, Any]
PICTURES = sorted((ROOT / "examples/digits/images").glob("*.png"))
CLASSIFY = "/callers/v2/models/resnet/classify"
PROCESSOR = {
    "processor": "ascend_serve.processing.images:ImageClassifier",
    "processor_args": {"resize": [32, 32], "top": 3},
}


@pytest.fixture(scope="module")
def handle(deploy: Deploy, exact_recipe: Path) -> Any:
    return deploy("callers", args={"recipe": str(exact_recipe), "name": "resnet", **PROCESSOR})


# --- pictures -----------------------------------------------------------------------------------------


def test_a_picture_is_uploaded_as_curl_does_and_its_labels_are_read(handle: Any, serve_url: str) -> None:
    """The bytes that `curl -T` sends, which need no curl: it names no type of content."""
    picture = next(path for path in PICTURES if path.name.startswith("digit3")).read_bytes()
    address = httpx.URL(serve_url)
    connection = http.client.HTTPConnection(address.host, address.port, timeout=60)
    with contextlib.closing(connection):
        connection.request("PUT", CLASSIFY, picture, {"User-Agent": "curl/8.5.0", "Accept": "*/*"})
        answer = connection.getresponse()
        told = answer.read().decode()
    assert told.startswith('{"model":"resnet","labels":[{"label":"3","index":3,"score":0.9'), told
    assert answer.status == 200


async def test_every_picture_is_classified_right_all_at_once(handle: Any, serve_url: str) -> None:
    async def ask(client: httpx.AsyncClient, picture: Path) -> dict[str, Any]:
        answer = await client.put(CLASSIFY, content=picture.read_bytes())
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async with httpx.AsyncClient(base_url=serve_url, timeout=120) as client:
        answers = await asyncio.gather(*(ask(client, picture) for picture in PICTURES))
        files = [("f", (path.name, path.read_bytes())) for path in PICTURES[:4]]
        form = (await client.post(CLASSIFY, files=files)).json()
    for picture, answer in zip(PICTURES, answers, strict=True):
        assert answer["labels"][0]["label"] == picture.name[5]
        scores = [label["score"] for label in answer["labels"]]
        assert len(scores) == 3
        assert scores == sorted(scores, reverse=True)
    assert [image["name"] for image in form["images"]] == [path.name for path in PICTURES[:4]]
    for image, answer in zip(form["images"], answers, strict=False):
        assert image["labels"][0]["label"] == answer["labels"][0]["label"]


def test_what_is_no_picture_is_refused_and_harms_nobody(handle: Any, http: httpx.Client) -> None:
    assert http.put(CLASSIFY, content=b"GIF89a").status_code == 415
    assert http.put(CLASSIFY, content=PICTURES[0].read_bytes()[:60]).status_code == 400
    assert http.get(CLASSIFY).status_code == 405
    assert http.put(CLASSIFY, content=PICTURES[0].read_bytes()).status_code == 200


# --- handles ------------------------------------------------------------------------------------------


def test_a_driver_passes_references_alone_and_by_name(handle: Any, digits: Array, expected: Array) -> None:
    import ray

    reference = ray.put(digits[:100])
    for given in (reference, {"image": reference}):
        found = handle.infer.remote(given, deadline_s=60.0).result(timeout_s=60)
        logits = found["logits"] if isinstance(given, dict) else found
        np.testing.assert_allclose(logits, expected[:100], rtol=1e-4, atol=1e-5)


def test_a_reference_that_comes_too_late_is_the_callers_deadline(handle: Any) -> None:
    import ray

    @ray.remote(num_cpus=0)
    class Gate:
        def __init__(self) -> None:
            self.open = asyncio.Event()

        async def wait(self) -> None:
            await self.open.wait()

        async def let(self) -> None:
            self.open.set()

    gate = Gate.remote()
    late = gate.wait.remote()
    with pytest.raises(Exception, match="the deadline passed while waiting for image") as caught:
        handle.infer.remote({"image": late}, deadline_s=0.2).result(timeout_s=60)
    assert "DeadlineExpired" in type(getattr(caught.value, "cause", caught.value)).__name__
    ray.get(gate.let.remote())


def test_a_task_asks_through_a_handle_of_its_own(handle: Any, digits: Array, expected: Array) -> None:
    import ray

    @ray.remote(num_cpus=0)
    def ask(rows: Array) -> Array:
        from ray import serve

        found: Array = serve.get_app_handle("callers").infer.remote(rows, deadline_s=60.0).result()
        return found

    logits = ray.get(ask.remote(digits[:40]), timeout=120)
    np.testing.assert_allclose(logits, expected[:40], rtol=1e-4, atol=1e-5)


def test_an_application_asks_for_its_own_callers(handle: Any, digits: Array, expected: Array) -> None:
    from ray import serve

    @serve.deployment(ray_actor_options={"num_cpus": 0})
    class Halves:
        def __init__(self, model: Any) -> None:
            self._model = model

        async def ask(self, rows: Array) -> dict[str, Array]:
            import ray

            first, second = rows[: len(rows) // 2], rows[len(rows) // 2 :]
            one, other = await asyncio.gather(
                self._model.infer.remote({"image": first}, deadline_s=60.0),
                self._model.infer.remote({"image": ray.put(second)}, priority=1),
            )
            return {"logits": np.concatenate([one["logits"], other["logits"]])}

    asking = serve.run(Halves.bind(handle), name="asking", route_prefix=None)
    try:
        found = asking.ask.remote(digits[:30]).result(timeout_s=120)
    finally:
        serve.delete("asking")
    np.testing.assert_allclose(found["logits"], expected[:30], rtol=1e-4, atol=1e-5)


def test_a_plain_driver_joins_the_cluster_and_asks(handle: Any, expected: Array) -> None:
    import ray

    program = (
        "import sys, logging, numpy as np, ray; from ray import serve\n"
        "ray.init(address=sys.argv[1], logging_level=logging.ERROR, log_to_driver=False)\n"
        "digits = np.load(sys.argv[2])['images'][:20, None].astype(np.float32) / 255\n"
        "handle = serve.get_app_handle('callers')\n"
        "by_value = handle.infer.remote({'image': digits}, deadline_s=60.0).result()['logits']\n"
        "by_reference = handle.infer.remote({'image': ray.put(digits)}).result()['logits']\n"
        "assert (by_value == by_reference).all()\n"
        "print(*by_value.argmax(axis=1))\n"
    )
    address = ray.get_runtime_context().gcs_address
    heldout = ROOT / "examples/digits/heldout.npz"
    done = subprocess.run(
        [sys.executable, "-c", program, address, str(heldout)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(label) for label in expected[:20].argmax(axis=1)]
