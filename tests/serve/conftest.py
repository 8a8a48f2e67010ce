"""One local Ray for all serve tests of a run, with a node of its own among the emulated ones."""

import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import yaml

from tests.serve.deploying import RECIPE, Deploy
from tests.serve.tools import ROOT, Served, free_port, metrics_page

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
    RAY_metrics_report_interval_ms="1000",
    # Serve's own histograms would be half of the page of metrics, which has all replicas of the run, and their agent
    # would be busy with little else.
    RAY_SERVE_REQUEST_LATENCY_BUCKETS_MS="1000",
    RAY_SERVE_MODEL_LOAD_LATENCY_BUCKETS_MS="1000",
    RAY_SERVE_REPLICA_STARTUP_SHUTDOWN_LATENCY_BUCKETS_MS="1000",
    # A proxy that has died is noticed as it is looked after; by default every ten seconds.
    RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S="1",
)
(SCRATCH / "token").write_text(uuid.uuid4().hex)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "last: takes down what others of its module use; runs after them, in the file's order"
    )


def pytest_unconfigure() -> None:
    shutil.rmtree(SCRATCH, ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = [item for item in items if item.path.is_relative_to(Path(__file__).parent)]
    # Ray itself warns of what it will deprecate and leaves sockets to the collector; its warnings are not ours.
    for item in here:
        item.add_marker(pytest.mark.filterwarnings("ignore::DeprecationWarning"))
        item.add_marker(pytest.mark.filterwarnings("ignore::ResourceWarning"))
    lasts = [item for item in here if item.get_closest_marker("last")]
    for last in sorted(lasts, key=lambda item: item.location[1] or 0):
        items.remove(last)
        others = [place for place, item in enumerate(items) if item.path == last.path]
        items.insert(others[-1] + 1 if others else len(items), last)


@pytest.fixture(scope="session", autouse=True)
def _what_was_told_to_end_ends(socket_folder: Callable[[], Path]) -> Iterator[None]:
    yield  # and their folders go after them
    Served.wait_for_ends()


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artefact store shared by the run, so that a model is compiled once."""
    return tmp_path_factory.mktemp("store")


METRICS_PORT = free_port()
GRPC_PORT = free_port()
SERVICER = "ascend_serve.serving.doors.grpc.add_GRPCInferenceServiceServicer_to_server"


@pytest.fixture(scope="session", autouse=True)
def _rays_agent_is_at_hand() -> None:
    """Have what a node's agent imports read from disk once: a node ends itself if its agent is not up after 15 s."""
    agent = "from ray.dashboard import agent, utils; utils.get_all_modules(utils.DashboardAgentModule)"
    subprocess.run([sys.executable, "-c", agent], check=True, capture_output=True)


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
    serve.start(
        http_options={"host": "127.0.0.1", "port": port},
        grpc_options={"port": GRPC_PORT, "grpc_servicer_functions": [SERVICER]},
    )
    yield f"http://127.0.0.1:{port}"
    serve.shutdown()


@pytest.fixture(scope="session")
def grpc_address(serve_url: str) -> str:
    """Where the same Serve answers over gRPC."""
    return f"127.0.0.1:{GRPC_PORT}"


@pytest.fixture(scope="module")
def deploy(serve_url: str, store: Path) -> Iterator[Deploy]:
    """Deploy an application as `serve run file.yaml` does; gives its handle, and takes it down after the module."""
    applications = Deploy(store)
    yield applications
    applications.close()


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
        for line in metrics_page(METRICS_PORT).splitlines():
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
