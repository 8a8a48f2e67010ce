"""The walls of the house that import-linter cannot see."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.architecture

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = [ROOT / "ascend_serve", ROOT / "compile_jobs"]
EMULATOR = [ROOT / "emulator/acl", ROOT / "emulator/ascend_emulator"]


def modules(folders: list[Path]) -> Iterator[Path]:
    for folder in folders:
        yield from sorted(folder.rglob("*.py"))


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


def test_acl_is_imported_in_the_fence_alone() -> None:
    assert [name(path) for path in modules(PRODUCT) if "acl" in imports(path)] == [
        "ascend_serve/runtime/_acl.py"
    ]


def test_the_environment_is_read_in_one_file() -> None:
    readers = [
        name(path) for path in modules(PRODUCT) if re.search(r"os\.(environ|getenv|putenv)", path.read_text())
    ]
    assert readers == ["ascend_serve/env.py"]


def test_ray_is_imported_in_its_rooms_alone() -> None:
    allowed = {
        "ascend_serve/serving/app.py",
        "ascend_serve/serving/autoscaling.py",
        "ascend_serve/serving/deployment.py",
        "ascend_serve/serving/fleet/elsewhere.py",
        "ascend_serve/serving/fleet/lost.py",
        "ascend_serve/serving/fleet/quarantine.py",
        "ascend_serve/serving/front.py",
        "ascend_serve/serving/watching/recorder.py",
        "ascend_serve/serving/fleet/route_desk.py",
        "ascend_serve/serving/fleet/router.py",
        "ascend_serve/serving/serve_file.py",
        "ascend_serve/serving/doors/hook.py",
        "ascend_serve/cli/_ray_facts.py",
        "ascend_serve/cli/live.py",
        "ascend_serve/cli/run.py",
        "ascend_serve/cli/watch.py",
    }
    found = {name(path) for path in modules(PRODUCT) if "ray" in imports(path)}
    assert {path for path in found if not path.startswith("compile_jobs/")} <= allowed


def test_the_product_does_not_know_the_emulator() -> None:
    knowing = [
        name(path) for path in modules(PRODUCT) if re.search(r"emulat", path.read_text(), re.IGNORECASE)
    ]
    assert knowing == []


def test_metrics_are_named_in_the_catalogue_alone() -> None:
    named = [
        name(path)
        for path in modules(PRODUCT)
        if re.search(r"[\"']ascend_serve_[a-z_]+[\"']", path.read_text()) and path.name != "metrics.py"
    ]
    assert named == []


def test_the_builder_module_keeps_its_annotations() -> None:
    # With postponed annotations Serve would hand the builder an unchecked dict.
    tree = ast.parse((ROOT / "ascend_serve/serving/app.py").read_text())
    futures = [
        node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module == "__future__"
    ]
    assert futures == []


@pytest.mark.parametrize("module", ["ascend_serve", "ascend_serve.serving.haproxy"])
def test_importing_the_package_loads_neither_acl_nor_ray(module: str) -> None:
    import subprocess

    # The second one runs each time that Serve reloads HAProxy.
    heavy = {"acl", "ray", "numpy", "pydantic", "asyncio"}
    code = f"import sys, {module}; sys.exit(bool({heavy!r} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("folder", [*PRODUCT, *EMULATOR], ids=lambda folder: folder.name)
def test_no_room_has_outgrown_its_purpose(folder: Path) -> None:
    assert [name(path) for path in modules([folder]) if len(path.read_text().splitlines()) > 600] == []


def test_every_dependency_has_a_reason() -> None:
    if sys.version_info < (3, 11):
        pytest.skip("reads pyproject.toml with tomllib")
    import tomllib

    reasons = (ROOT / "CONTRIBUTING.md").read_text()
    for project in ("pyproject.toml", "emulator/pyproject.toml"):
        table = tomllib.loads((ROOT / project).read_text())["project"]
        extras = [entry for group in table.get("optional-dependencies", {}).values() for entry in group]
        for requirement in [*table["dependencies"], *extras]:
            distribution = re.match(r"[A-Za-z0-9_.-]+", requirement)
            assert distribution is not None
            if distribution.group() != "ascend-serve":
                assert f"`{distribution.group()}`" in reasons, (
                    f"{distribution.group()} has no reason in CONTRIBUTING.md"
                )


def test_the_house_is_as_the_map_says() -> None:
    plan = (ROOT / "ARCHITECTURE.md").read_text()
    rooms = [path for path in (ROOT / "ascend_serve").iterdir() if (path / "__init__.py").exists()]
    rooms += [path for path in (ROOT / "ascend_serve").glob("*.py") if path.name != "__init__.py"]
    assert [path.name for path in rooms if path.stem not in plan] == []
