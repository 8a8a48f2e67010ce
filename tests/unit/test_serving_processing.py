"""Doors that processors bring, driven over ASGI; and how settings name processors."""

import asyncio
import json
import re
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import httpx
import numpy as np
import pytest
from pydantic import Field

from ascend_serve.dataplane import DataPlane
from ascend_serve.errors import (
    AscendServeError,
    ConfigError,
    DeadlineExpired,
    InvalidTensor,
    MalformedRequest,
    ProcessorMissing,
    QueueFull,
)
from ascend_serve.processing.processor import (
    Array,
    Decoded,
    Payload,
    Processor,
    ProcessorDoor,
    ProcessorSettings,
    Tensors,
)
from ascend_serve.processing.workers import Workers
from ascend_serve.protocol.limits import Limits
from ascend_serve.repository import Repository
from ascend_serve.serving.config import AppConfig, parse_app_config
from ascend_serve.serving.doors.http import HttpApp
from ascend_serve.serving.doors.processing import HookedDoors, Processing, payload_of
from ascend_serve.serving.doors.tokens import Tokens
from ascend_serve.serving.processors import check_fit, check_settings, settled
from ascend_serve.spec.gears import Gears
from ascend_serve.spec.model import ModelSpec
from ascend_serve.spec.tensors import DataType, TensorSpec

pytestmark = pytest.mark.unit

SPEC = ModelSpec(
    "a", (TensorSpec("x", DataType.FP32, (-1, 1)),), (TensorSpec("y", DataType.FP32, (-1, 1)),), Gears((1, 8))
)
HERE = "tests.unit.test_serving_processing:Sums"
LIMIT_S = 60.0


class SumsSettings(ProcessorSettings):
    times: float = Field(default=1.0, gt=0)


class Sums(Processor[SumsSettings]):
    """Numbers by commas in, each a request of its own; their doubled sum out."""

    Settings: ClassVar[type[ProcessorSettings]] = SumsSettings
    doors: ClassVar[tuple[ProcessorDoor, ...]] = (
        ProcessorDoor(verb="sum"),
        ProcessorDoor(path="/v1/sums", methods=("POST",)),
        ProcessorDoor(path="/v1/about", methods=("GET",)),
    )

    def __init__(self, settings: SumsSettings, spec: ModelSpec) -> None:
        if spec.inputs[0].dtype is not DataType.FP32:
            raise ConfigError(f"'{spec.name}' takes no numbers")
        self._times = settings.times
        self._name = spec.name
        self.threads: set[str] = set()

    def decode(self, payload: Payload) -> Decoded:
        self.threads.add(threading.current_thread().name)
        if not payload.body:
            return Decoded((), 0)
        words = payload.body.decode().removeprefix(f"{self._name}:").split(",")
        try:
            numbers = [float(word) * self._times for word in words]
        except ValueError as error:
            raise MalformedRequest(f"no numbers: {error}") from None
        shape = (1, 2) if payload.content_type == "text/wrong" else (1, 1)
        return Decoded([{"x": np.full(shape, number, np.float32)} for number in numbers], len(numbers))

    def encode(self, decoded: Decoded, outputs: Sequence[Tensors]) -> Any:
        total = sum(float(tensors["y"].sum()) for tensors in outputs)
        return {"model": self._name, "sum": total, "of": decoded.context}

    @classmethod
    def failure(cls, error: AscendServeError) -> Any:
        return {"error": {"message": str(error), "type": type(error).__name__}}

    @classmethod
    def model_of(cls, payload: Payload) -> str | None:
        name, colon, _ = payload.body.decode().partition(":")
        return name if colon else None


class Engine:
    def __init__(self) -> None:
        self.error: Exception | None = None
        self.fails_at: float | None = None
        self.hold = asyncio.Event()
        self.hold.set()
        self.started = 0
        self.cancelled = 0
        self.deadlines: list[float | None] = []

    async def __call__(
        self, tensors: Mapping[str, Array], *, deadline_s: float | None = None, priority: int | None = None
    ) -> Mapping[str, Array]:
        self.started += 1
        self.deadlines.append(deadline_s)
        if self.error is not None and self.fails_at in (None, float(tensors["x"][0, 0])):
            raise self.error
        try:
            await self.hold.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return {"y": tensors["x"] * 2}


class House:
    """An app of some models with the same processor."""

    def __init__(
        self,
        *models: tuple[str, str],
        times: float = 1.0,
        limits: Limits = Limits(max_body_bytes=1 << 10),  # noqa: B008 - it is frozen
        tokens: Tokens | None = None,
        default_deadline_s: float | None = None,
    ) -> None:
        self.engine = Engine()
        planes = [
            DataPlane(replace(SPEC, name=name), self.engine, ready=lambda: True, max_rows=4, version=version)
            for name, version in models
        ]
        self.processings = [
            Processing(
                Sums(SumsSettings(times=times), plane.spec), plane, 1, default_deadline_s=default_deadline_s
            )
            for plane in planes
        ]
        plain = DataPlane(replace(SPEC, name="plain"), self.engine, ready=lambda: True, max_rows=4)
        repository = Repository([*planes, plain])
        self.app = HttpApp(repository, limits, HookedDoors(self.processings), tokens)

    async def ask(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        transport = httpx.ASGITransport(self.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            self.answer = await client.request(method, path, **options)
        return self.answer.status_code, self.answer.json()


Build = Callable[..., House]


@pytest.fixture
async def build() -> AsyncIterator[Build]:
    async with AsyncExitStack() as stack:

        def of(*models: tuple[str, str], **options: Any) -> House:
            house = House(*(models or (("a", "1"),)), **options)
            for processing in house.processings:
                stack.callback(processing.close)
            return house

        yield of


# --- over HTTP ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["PUT", "POST"])
@pytest.mark.parametrize("path", ["/v2/models/a/sum", "/v2/models/a/versions/1/sum"])
async def test_a_body_is_decoded_run_and_encoded(build: Build, method: str, path: str) -> None:
    house = build(times=10)
    assert await house.ask(method, path, content=b"1,2,3") == (200, {"model": "a", "sum": 120.0, "of": 3})
    assert house.answer.headers["content-type"] == "application/json"
    assert house.engine.started == 3, "each number was a request of its own"
    assert house.processings[0].processor.threads == {"ascend-processor-a-0"}


async def test_a_long_answer_is_coded_for_a_client_that_takes_it(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Sums, "encode", lambda *_: {"words": "long " * 400})
    house = build()
    gzip = {"accept-encoding": "gzip"}
    told = await house.ask("POST", "/v2/models/a/sum", content=b"1", headers=gzip)
    assert told == (200, {"words": "long " * 400})
    assert house.answer.headers["content-encoding"] == "gzip"
    assert int(house.answer.headers["content-length"]) < 200


async def test_paths_of_a_processors_own_are_below_the_route_prefix(build: Build) -> None:
    house = build()
    assert (await house.ask("POST", "/v1/sums", content=b"4"))[0] == 200
    assert await house.ask("GET", "/v1/about") == (200, {"model": "a", "sum": 0, "of": 0})


async def test_of_several_models_at_one_path_the_body_names_one(build: Build) -> None:
    house = build(("a", "1"), ("b", "1"), ("b", "2"))
    assert (await house.ask("POST", "/v1/sums", content=b"b:1"))[1]["model"] == "b"
    status, told = await house.ask("POST", "/v1/sums", content=b"bb:1")
    assert (status, told["error"]["type"]) == (404, "ModelNotFound")
    assert "did you mean 'b'?" in told["error"]["message"]
    status, told = await house.ask("POST", "/v1/sums", content=b"1")
    assert (status, told["error"]["message"]) == (404, "the body names no model, and there are a, b")


async def test_in_a_large_body_the_model_is_looked_for_off_the_event_loop(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    searching: list[bool] = []

    def model_of(payload: Payload) -> str | None:
        searching.append(threading.current_thread() is threading.main_thread())
        return payload.body.decode().partition(":")[0]

    monkeypatch.setattr(Sums, "model_of", model_of)
    house = build(("a", "1"), ("b", "1"), limits=Limits(max_body_bytes=1 << 20))
    for zeros in (10, 64 * 1024):
        status, told = await house.ask("POST", "/v1/sums", content=b"b:" + b"0" * zeros + b"1")
        assert (status, told) == (200, {"model": "b", "sum": 2.0, "of": 1})
    assert searching == [True, False]


async def test_the_newest_version_answers_where_none_is_named(build: Build) -> None:
    house = build(("b", "10"), ("b", "9"))
    seen = house.processings[0].processor.threads, house.processings[1].processor.threads
    for path, body in (("/v2/models/b/sum", b"b:1"), ("/v1/sums", b"b:1"), ("/v1/sums", b"1")):
        assert (await house.ask("POST", path, content=body))[0] == 200
    assert (len(seen[0]), len(seen[1])) == (1, 0)
    await house.ask("POST", "/v2/models/b/versions/9/sum", content=b"b:1")
    assert len(seen[1]) == 1


@pytest.mark.parametrize(
    ("method", "path", "status", "words"),
    [
        ("GET", "/v2/models/a/sum", 405, "use POST, PUT"),
        ("PUT", "/v1/sums", 405, "use POST"),
        ("POST", "/v2/models/a/sums", 404, "no such path"),
        ("POST", "/v2/models/plain/sum", 404, "no such path"),
        ("POST", "/v2/models/c/sum", 404, "no model 'c'"),
        ("POST", "/v2/models/a/versions/2/sum", 404, "no version '2'"),
        ("POST", "/v1/sum", 404, "no such path"),
    ],
)
async def test_other_paths_and_methods_are_refused(
    build: Build, method: str, path: str, status: int, words: str
) -> None:
    found, told = await build().ask(method, path, content=b"1" if method != "GET" else None)
    assert found == status
    error = told["error"]
    # At a processor's own door the form is the processor's.
    assert words in (error["message"] if found == 405 else error)


@pytest.mark.parametrize(
    "path", ["/v1/sums", "/v2/models/a/sum", "/v2/models/a/versions/1/sum", "/v2/models/a/versions/2/sum"]
)
async def test_whatever_goes_wrong_at_a_door_is_told_in_the_processors_words(
    build: Build, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = build(("a", "1"), ("a", "2"), tokens=Tokens(["0123456789abcdef0123456789abcdef"]))
    known = {"authorization": "Bearer 0123456789abcdef0123456789abcdef"}
    for processing in house.processings:
        monkeypatch.setattr(processing.processor, "encode", lambda *_: {object()})
    many = {f"x-{number}": "1" for number in range(200)}
    for method, headers, content, status in (
        ("POST", {}, b"1", 401),
        ("DELETE", known, b"1", 405),
        ("POST", known, b"1" * 2000, 413),
        ("POST", {**known, **many}, b"1", 431),
        ("POST", known, b"1", 500),
    ):
        found, told = await house.ask(method, path, headers=headers, content=content)
        assert (found, set(told["error"])) == (status, {"message", "type"})


async def test_failures_are_told_in_the_processors_words(build: Build) -> None:
    house = build()
    status, told = await house.ask("PUT", "/v2/models/a/sum", content=b"one")
    assert (status, told["error"]["type"]) == (400, "MalformedRequest")
    status, told = await house.ask(
        "PUT", "/v2/models/a/sum", content=b"1", headers={"content-type": "Text/Wrong; x=y"}
    )
    assert (status, told["error"]["type"]) == (400, "InvalidTensor"), "what hooks make is checked too"
    house.engine.error = QueueFull("full", retry_after_s=2.5)
    status, told = await house.ask("PUT", "/v2/models/a/sum", content=b"1")
    assert (status, told["error"]["message"], house.answer.headers["retry-after"]) == (429, "full", "3")
    status, told = await house.ask("PUT", "/v2/models/a/sum", content=b"1" * 2000)
    assert status == 413


async def test_a_bug_in_a_hook_is_a_500_and_logged(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    house = build()
    monkeypatch.setattr(house.processings[0].processor, "encode", lambda *_: {object()})
    status, told = await house.ask("PUT", "/v2/models/a/sum", content=b"1")
    assert status == 500
    assert "TypeError" in told["error"]["message"]


async def test_the_deadline_counts_from_the_bodys_arrival(build: Build) -> None:
    house = build()
    header = "x-envoy-expected-rq-timeout-ms"
    assert (await house.ask("PUT", "/v2/models/a/sum", content=b"1", headers={header: "5000"}))[0] == 200
    (left,) = house.engine.deadlines
    assert left is not None
    assert 0 < left < 5.0
    with pytest.raises(DeadlineExpired):
        await house.processings[0].answer(Payload(b"1"), deadline_s=-1.0)
    assert house.engine.started == 1


async def test_a_model_has_a_default_deadline_from_the_bodys_arrival_on(build: Build) -> None:
    house = build(default_deadline_s=500.0)
    (processing,) = house.processings
    await processing.answer(Payload(b"1"))
    await processing.answer(Payload(b"1"), deadline_s=5000.0)
    processing.default_deadline_s = None
    await processing.answer(Payload(b"1"))
    default, named, none = house.engine.deadlines
    assert default is not None
    assert 0 < default < 500.0, "decoding is part of it"
    assert named is not None
    assert named > 500.0
    assert none is None


@pytest.mark.parametrize("hook", ["decode", "encode"])
async def test_what_waits_for_a_hook_ends_at_the_default_deadline(
    build: Build, monkeypatch: pytest.MonkeyPatch, hook: str
) -> None:
    house = build()
    (processing,) = house.processings
    gate, entered = threading.Event(), threading.Event()
    as_it_was = getattr(processing.processor, hook)

    def held(*given: Any) -> Any:
        entered.set()
        assert gate.wait(LIMIT_S)
        return as_it_was(*given)

    monkeypatch.setattr(processing.processor, hook, held)
    if hook == "encode":
        house.engine.hold.clear()  # until both are decoded, or the one thread would not come to the second
    first = asyncio.ensure_future(processing.answer(Payload(b"1")))
    if hook == "decode":
        assert await asyncio.to_thread(entered.wait, LIMIT_S)
    while hook == "encode" and house.engine.started < 1:
        await asyncio.sleep(0)
    processing.default_deadline_s = 0.2
    second = asyncio.ensure_future(house.ask("PUT", "/v2/models/a/sum", content=b"2"))
    while hook == "encode" and house.engine.started < 2 and not second.done():
        await asyncio.sleep(0)
    house.engine.hold.set()
    try:
        status, told = await asyncio.wait_for(second, LIMIT_S)
        assert (status, told["error"]["type"]) == (504, "DeadlineExpired")
        assert not first.done(), "the thread is still at it"
        assert await asyncio.to_thread(entered.wait, LIMIT_S)
    finally:
        gate.set()
    assert json.loads(await first)["sum"] == 2.0


async def test_the_time_that_finding_the_model_takes_counts_too(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    named: list[float] = []
    deadlines: list[float | None] = []
    decode = Workers.decode

    def model_of(payload: Payload) -> str | None:
        named.append(time.monotonic())
        return "b"

    async def noting(self: Workers, payload: Payload, *, deadline: float | None = None) -> Decoded:
        deadlines.append(deadline)
        return await decode(self, payload, deadline=deadline)

    monkeypatch.setattr(Sums, "model_of", model_of)
    monkeypatch.setattr(Workers, "decode", noting)
    house = build(("a", "1"), ("b", "1"), default_deadline_s=7.0)
    header = {"x-envoy-expected-rq-timeout-ms": "5000"}
    for headers, deadline_s in ((header, 5.0), ({}, 7.0)):
        assert (await house.ask("POST", "/v1/sums", content=b"b:1", headers=headers))[0] == 200
        moment = deadlines[-1]
        assert moment is not None
        assert moment < named[-1] + deadline_s


async def test_when_one_request_of_a_body_fails_the_others_are_cancelled(build: Build) -> None:
    house = build()
    house.engine.error, house.engine.fails_at = InvalidTensor("no twos"), 2.0
    house.engine.hold.clear()
    with pytest.raises(InvalidTensor, match="no twos"):
        await asyncio.wait_for(house.processings[0].answer(Payload(b"1,2,3")), LIMIT_S)
    while house.engine.cancelled < 2:
        await asyncio.sleep(0)
    assert house.engine.started == 3


def test_a_content_type_is_taken_apart() -> None:
    payload = payload_of(b"x", 'Multipart/Form-Data; Boundary="a b"; charset=utf-8')
    assert payload == Payload(b"x", "multipart/form-data", {"boundary": "a b", "charset": "utf-8"})
    assert payload_of(b"", "") == Payload(b"")


def test_a_door_has_a_verb_or_a_path() -> None:
    for both in ({}, {"verb": "v", "path": "/p"}):
        with pytest.raises(ValueError, match="either a verb"):
            ProcessorDoor(**both)


# --- by name ------------------------------------------------------------------------------------------


def config(**args: Any) -> AppConfig:
    return parse_app_config({"om": "a.om", **args})


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"processor": "Sums"}, "args.processor: 'Sums' names no class: write module:Class"),
        ({"processor_args": {}}, "processor_args belongs to a 'processor', and none is named"),
        ({"processor": HERE, "processor_threads": 0}, "args.processor_threads"),
        ({"procesor": HERE}, "args.procesor: unknown key; did you mean 'processor'?"),
    ],
)
def test_wrong_keys_are_found_in_the_file(args: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(words)):
        config(**args)


@pytest.mark.parametrize(
    ("reference", "error", "words"),
    [
        ("nowhere.at_all:Sums", ProcessorMissing, "no module 'nowhere'"),
        ("ascend_serve.processing.image:ImageClassifier", ProcessorMissing, "ascend_serve.processing.image'"),
        ("ascend_serve.processing.images:ImageClasifier", ConfigError, "did you mean 'ImageClassifier'?"),
        ("ascend_serve.processing.images:Geometry", ConfigError, "no subclass of ascend_serve.Processor"),
    ],
)
def test_what_is_no_processor_is_refused(reference: str, error: type[ConfigError], words: str) -> None:
    with pytest.raises(error, match=re.escape(words)):
        check_settings(config(processor=reference).served[0], Path())


@pytest.mark.parametrize(
    "door",
    [
        ProcessorDoor(verb="infer"),
        ProcessorDoor(verb="a/b"),
        ProcessorDoor(path="v1/x"),
        ProcessorDoor(path="/v2"),
    ],
)
def test_a_door_that_no_request_reaches_is_refused(
    door: ProcessorDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Sums, "doors", (door,))
    model = config(processor=HERE).served[0]
    with pytest.raises(ConfigError, match="which no request reaches"):
        check_settings(model, Path())
    with pytest.raises(ConfigError, match="which no request reaches"):
        settled({"processor": HERE})


def test_settings_of_a_processor_are_checked_and_settled_before_anything_is_served(tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("paper\nstone\n")
    images = "ascend_serve.processing.images:ImageClassifier"
    args = {"resize": 8, "crop": 8, "labels": str(labels)}
    with pytest.raises(ConfigError, match=r"processor_args: unknown key 'crpo'; did you mean 'crop'\?"):
        check_settings(config(processor=images, processor_args={**args, "crpo": 1}).served[0], tmp_path)
    both = {"models": [{"om": "a.om"}, {"om": "b.om", "processor": images, "processor_args": args}]}
    told = settled(parse_app_config(both).model_dump(exclude_unset=True))
    assert told["models"][1]["processor_args"]["labels"] == ("paper", "stone")
    assert set(told["models"][1]["processor_args"]) == set(args)
    AppConfig.model_validate(told)
    both["models"][1]["processor_args"] = {"resize": 0}
    with pytest.raises(ConfigError, match=r"args\.models\.1\.processor_args: resize is 0"):
        settled(parse_app_config(both).model_dump(exclude_unset=True))


def test_a_processor_that_does_not_fit_the_model_is_found_before_replicas_start() -> None:
    model = config(processor=HERE).served[0]
    check_fit(model, "named", [SPEC])
    numbers = (TensorSpec("x", DataType.INT32, (-1, 1)),)
    with pytest.raises(ConfigError, match="'named' takes no numbers"):
        check_fit(model, "named", [SPEC, replace(SPEC, inputs=numbers)])


def test_a_module_beside_the_serve_file_is_found(tmp_path: Path) -> None:
    source = "from tests.unit.test_serving_processing import Sums\nclass Mine(Sums):\n    pass\n"
    (tmp_path / "my_own_hooks.py").write_text(source)
    model = config(processor="my_own_hooks:Mine", processor_args={"times": 2}).served[0]
    check_settings(model, tmp_path)
    (tmp_path / "my_broken_hooks.py").write_text("import a_library_that_is_not_there\n")
    with pytest.raises(ConfigError, match="needs another one: No module named 'a_library"):
        check_settings(config(processor="my_broken_hooks:Mine").served[0], tmp_path)


async def test_the_processor_of_the_guide_works() -> None:
    guide = (Path(__file__).resolve().parents[2] / "docs/processors.md").read_text()
    (source,) = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    names: dict[str, Any] = {"__name__": "guide"}
    exec(compile(source, "docs/processors.md", "exec"), names)
    plane = DataPlane(SPEC, Engine(), ready=lambda: True, max_rows=4)
    processing = Processing(names["Speeds"](names["SpeedSettings"](unit=2), SPEC), plane, 1)
    try:
        assert json.loads(await processing.answer(Payload(b"4\n6"))) == {"speeds": [4.0, 6.0]}
        with pytest.raises(MalformedRequest, match="no number"):
            await processing.answer(Payload(b"fast"))
    finally:
        processing.close()


def test_errors_are_json_a_client_can_read() -> None:
    assert json.loads(json.dumps(Processor.failure(MalformedRequest("m")))) == {"error": "m"}
