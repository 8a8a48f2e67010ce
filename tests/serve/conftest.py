"""One local Ray for all serve tests of a run, with a node of its own among the emulated ones."""

import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import yaml

from tests.serve.tools import free_port

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "compile_jobs/recipes/resnet.yaml"
DIGITS = ROOT / "examples/digits"

# Read by Ray when it is imported, so they stand before any import of it: a token file and a folder for sessions that
# nothing outside this run shares, and quick metrics, which autoscaling waits for.
SCRATCH = Path(tempfile.mkdtemp(prefix="as-", dir="/tmp"))
os.environ.update(
    RAY_TMPDIR=str(SCRATCH),
    RAY_AUTH_MODE="token",
    RAY_AUTH_TOKEN_PATH=str(SCRATCH / "token"),
    RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S="0.5",
    RAY_SERVE_HANDLE_AUTOSCALING_METRIC_PUSH_INTERVAL_S="0.5",
    RAY_metrics_report_interval_ms="300",
)
(SCRATCH / "token").write_text(uuid.uuid4().hex)


def pytest_unconfigure() -> None:
    shutil.rmtree(SCRATCH, ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Ray itself warns of what it will deprecate and leaves sockets to the collector; its warnings are not ours.
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.filterwarnings("ignore::DeprecationWarning"))
            item.add_marker(pytest.mark.filterwarnings("ignore::ResourceWarning"))


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artefact store shared by the run, so that a model is compiled once."""
    return tmp_path_factory.mktemp("store")


METRICS_PORT = free_port()


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    import ray

    with pytest.MonkeyPatch.context() as patch:
        # Workers inherit these from the node; other tests of the session have cards of their own.
        patch.setenv("XDG_RUNTIME_DIR", str(SCRATCH))
        patch.setenv("ASCEND_EMULATOR_NODE", "serve-tests")
        patch.setenv("ASCEND_EMULATOR_DEVICES", "4")
        ray.init(
            address="local",
            num_cpus=2,
            include_dashboard=False,
            log_to_driver=False,
            namespace="serve",
            _metrics_export_port=METRICS_PORT,
        )
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def serve_url(ray_cluster: None) -> Iterator[str]:
    """Serve on a port of its own; the base URL."""
    from ray import serve

    port = free_port()
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    yield f"http://127.0.0.1:{port}"
    serve.shutdown()


@pytest.fixture(scope="module")
def deploy(serve_url: str, store: Path) -> Iterator[Callable[..., Any]]:
    """Deploy an application as `serve run file.yaml` does; gives its handle, and takes it down after the module."""
    from ray import serve
    from ray.serve.context import _get_global_client
    from ray.serve.schema import ServeDeploySchema

    applications: dict[str, dict[str, Any]] = {}

    def apply() -> None:
        _get_global_client().deploy_apps(
            ServeDeploySchema.model_validate({"applications": list(applications.values())}), _blocking=True
        )

    def run(name: str, *, args: Mapping[str, Any] | None = None, **options: Any) -> Any:
        given = {"store": str(store), **(args or {})}
        if "om" not in given:
            given = {"recipe": str(RECIPE), **given}
        else:
            del given["store"]
        applications[name] = {
            "name": name,
            "route_prefix": f"/{name}",
            "import_path": "ascend_serve.serving.app:build",
            "args": given,
            "deployments": [{"name": "AscendModel", **options}],
        }
        apply()
        return serve.get_app_handle(name)

    yield run
    for name in applications:
        serve.delete(name)


@pytest.fixture(scope="session")
def exact_recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped recipe, computing in the model's own precision."""
    recipe = yaml.safe_load(RECIPE.read_text())
    recipe.update(source=str(DIGITS / "resnet20.onnx"), precision="fp32")
    path = tmp_path_factory.mktemp("recipe") / "exact.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


@pytest.fixture(scope="session")
def digits() -> "np.ndarray[Any, Any]":
    """Held-out digit images as the model takes them: float32 (360, 1, 32, 32) in 0..1."""
    with np.load(DIGITS / "heldout.npz") as heldout:
        return (heldout["images"][:, None].astype(np.float32)) / 255


@pytest.fixture(scope="session")
def expected(digits: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    """What onnxruntime says of them: float32 (360, 10)."""
    import onnxruntime

    session = onnxruntime.InferenceSession(DIGITS / "resnet20.onnx", providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"image": digits})[0])


@pytest.fixture
def http(serve_url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=serve_url, timeout=60) as client:
        yield client


@pytest.fixture
def counters(serve_url: str) -> Callable[[str], dict[str, float]]:
    """The metrics of an application as Ray exports them: `{'ascend_serve_batches_total gear=16': 3.0}`."""

    def read(application: str) -> dict[str, float]:
        found: dict[str, float] = {}
        for line in httpx.get(f"http://127.0.0.1:{METRICS_PORT}/metrics", timeout=10).text.splitlines():
            if not line.startswith("ray_ascend_serve_") or f'application="{application}"' not in line:
                continue
            name, _, rest = line.removeprefix("ray_").partition("{")
            labels, _, value = rest.rpartition("} ")
            for own in ("gear", "outcome"):
                if f'{own}="' in labels:
                    name += f" {own}=" + labels.split(f'{own}="')[1].split('"')[0]
            found[name] = found.get(name, 0.0) + float(value)
        return found

    return read


@pytest.fixture
def slow_device(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Actor options of a replica whose emulated card takes the given milliseconds at every gear, or at each."""

    def options(ms: float | Mapping[str, float]) -> dict[str, Any]:
        table = tmp_path / "times.json"
        times = ms if isinstance(ms, Mapping) else dict.fromkeys(("1", "4", "8", "16"), ms)
        table.write_text(json.dumps({"models": {"resnet": times}}))
        return {
            "num_cpus": 0.25,
            "resources": {"NPU": 1},
            "runtime_env": {
                "env_vars": {"ASCEND_EMULATOR_TIMING": "modelled", "ASCEND_EMULATOR_TIMES": str(table)}
            },
        }

    return options
