"""Applications on the suite's Serve, deployed as `serve run file.yaml` does."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.serve.tools import ROOT, eventually

RECIPE = ROOT / "compile_jobs/recipes/resnet.yaml"


class Deploy:
    """The applications of one test module: calling it deploys one and gives its handle; those of other modules go.

    Args:
        store: where compiled models are kept.
    """

    def __init__(self, store: Path) -> None:
        self._store = store
        self._applications: dict[str, dict[str, Any]] = {}

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._applications)

    def __call__(self, name: str, *, args: Mapping[str, Any] | None = None, **options: Any) -> Any:
        """Deploy it, with those that `add` was told of; the handle once all of them run."""
        from ray import serve

        self.add(name, args=args, **options)
        self.apply()
        return serve.get_app_handle(name)

    def add(self, name: str, *, args: Mapping[str, Any] | None = None, **options: Any) -> None:
        """Have it deployed beside the next one, so that both start at once.

        Args:
            name: of the application, below whose name it is served.
            args: of its builder; the shipped recipe unless they name an `.om` or several models.
            options: of its deployment.
        """
        given = {"recipe": str(RECIPE), "store": str(self._store), **(args or {})}
        if "om" in given:
            del given["recipe"], given["store"]
        if "models" in given:
            del given["recipe"]
        self._applications[name] = {
            "name": name,
            "route_prefix": f"/{name}",
            "import_path": "ascend_serve.serving.app:build",
            "args": given,
            "deployments": [{"name": "AscendModel", **options}],
        }

    def change(self, name: str, **options: Any) -> None:
        """Deploy an application again, with other options of its deployment, and wait until all of it runs."""
        self._applications[name]["deployments"][0].update(options)
        self.apply()

    def apply(self) -> None:
        """Deploy what `add` was told of, and wait until all of it runs."""
        from ray.serve.context import _get_global_client
        from ray.serve.schema import ServeDeploySchema

        client = _get_global_client()
        told = {"applications": list(self._applications.values())}
        client.deploy_apps(ServeDeploySchema.model_validate(told))
        eventually(f"{', '.join(self._applications)} run", self._running, 480)
        client.wait_for_proxies_serving(wait_for_applications_running=True)

    def close(self) -> None:
        """Take them down; they end while what comes next is made ready."""
        from ray.serve.context import _get_global_client

        _get_global_client().delete_apps(list(self._applications), blocking=False)

    def _running(self) -> bool:
        from ray import serve

        applications = serve.status().applications
        found = {name: applications[name] for name in self._applications if name in applications}
        failed = {name: told.message for name, told in found.items() if told.status == "DEPLOY_FAILED"}
        assert not failed, failed
        return [told.status for told in found.values()] == ["RUNNING"] * len(self._applications)
