import io
import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import ray
from rich.console import Console
from rich.text import Text

from ascend_serve import env
from ascend_serve.artifacts.store import Store
from ascend_serve.compiling.build import compile_target
from ascend_serve.compiling.recipes import load_recipe
from ascend_serve.errors import ConfigError
from ascend_serve.spec.recipe import CompileRecipe
from compile_jobs.display import progress_of, show_results
from compile_jobs.tasks import TargetResult, TargetStarted, cluster_socs, compile_targets

pytestmark = pytest.mark.serve

w = runpy.run_path(str(Path(__file__).parents[1] / "unit" / "om_writer.py"))
LIMIT_S = 60.0


@pytest.fixture
def folder(tmp_path):
    """A recipe, and an `atc` that makes an .om for any SoC, fails for Ascend310B1 and hangs for Ascend310B4."""
    vendor = env.acl_distribution()
    note = " ".join(vendor).encode() if vendor else b""
    for soc in ("Ascend310P1", "Ascend310P3"):
        (tmp_path / f"{soc}.om").write_bytes(w["gear_model"](soc=soc, gears=(1, 4), note=note))
    (tmp_path / "net.onnx").write_bytes(b"network")
    (tmp_path / "net.yaml").write_text(
        "name: net\nsource: net.onnx\ninputs: {image: [-1, 3, 2]}\ngears: [1, 4]\nmemory_bytes: 1000000\n"
    )
    atc = tmp_path / "atc"
    atc.write_text(
        "#!/bin/sh\n"
        'if [ "$1" = --help ]; then echo usage; exit 0; fi\n'
        f"echo $$ >> {tmp_path}/pids\n"
        'for a in "$@"; do case $a in --output=*) out=${a#*=};; --soc_version=*) soc=${a#*=};; esac; done\n'
        "if [ $soc = Ascend310B1 ]; then\n"
        "echo ATC run failed, see the log; echo 'E10016: Op name x is not found'; exit 255\n"
        "fi\n"
        f"if [ $soc = Ascend310B4 ]; then tail -f /dev/null & echo $! >> {tmp_path}/pids; wait; fi\n"
        f'cp {tmp_path}/$soc.om "$out.om"\n'
        "echo ATC run success, welcome to the next use.\n"
    )
    atc.chmod(0o755)
    return tmp_path


def until(condition, what):
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.02)


def pids(folder):
    file = folder / "pids"
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def artifacts(folder):
    return sorted(path.parent.name for path in (folder / "store").glob("??/*/manifest.json"))


def compile_for(folder, socs, **options):
    return compile_targets(folder / "net.yaml", socs, folder / "store", atc=str(folder / "atc"), **options)


def test_targets_are_built_once_and_failures_are_results(ray_cluster, folder):
    socs = ["Ascend310P3", "Ascend310B1", "Ascend310P1", "Ascend310P3"]
    seen = []
    results = compile_for(folder, socs, progress=seen.append)
    assert [(result.soc, result.outcome) for result in results] == [
        ("Ascend310P3", "built"),
        ("Ascend310B1", "failed"),
        ("Ascend310P1", "built"),
    ]
    assert results[0].artifact.verify().read_bytes() == (folder / "Ascend310P3.om").read_bytes()
    assert "E10016: Op name x is not found" in results[1].cause
    for soc in socs:
        events = [event for event in seen if event.soc == soc]
        assert [type(event) for event in events] == [TargetStarted, TargetResult]

    again = compile_for(folder, socs)
    assert [result.outcome for result in again] == ["cached", "failed", "cached"]
    assert "--retry-failed" in again[1].cause
    assert len(pids(folder)) == 3
    compile_for(folder, ["Ascend310B1"], retry_failed=True)
    assert len(pids(folder)) == 4
    assert len(artifacts(folder)) == 2


def test_a_task_may_compile_although_it_holds_all_cpus(ray_cluster, folder):
    @ray.remote(num_cpus=ray.cluster_resources()["CPU"])
    def caller():
        return [result.outcome for result in compile_for(folder, ["Ascend310P3", "Ascend310P1"])]

    assert ray.get(caller.remote(), timeout=LIMIT_S) == ["built", "built"]


def test_the_clusters_socs_are_what_its_devices_report(ray_cluster):
    reported = subprocess.run(
        [sys.executable, "-c", "import acl; print(acl.get_soc_name())"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert cluster_socs() == [reported.stdout.strip()]


@pytest.mark.parametrize(
    ("change", "socs", "says"),
    [
        ({"num_cpus": 64}, ["Ascend310P3"], "64 CPUs and .*which no node of the cluster has"),
        ({"memory_bytes": 1 << 60}, ["Ascend310P3"], "lower num_cpus or memory_bytes"),
        ({}, [], "no SoC to compile for"),
        ({}, ["Ascend310P9"], "unknown SoC"),
    ],
)
def test_what_could_never_run_is_refused_at_once(ray_cluster, folder, change, socs, says):
    recipe = CompileRecipe.parse({"name": "net", "source": str(folder / "net.onnx")} | change)
    with pytest.raises(ConfigError, match=says):
        compile_targets(recipe, socs, folder / "store")


def test_a_cancelled_caller_leaves_no_atc(ray_cluster, folder):
    task = ray.remote(num_cpus=0)(lambda: compile_for(folder, ["Ascend310B4"])).remote()
    until(lambda: len(pids(folder)) == 2, "atc and its worker run")
    ray.cancel(task)
    with pytest.raises(ray.exceptions.TaskCancelledError):
        ray.get(task, timeout=LIMIT_S)
    until(lambda: not any(map(alive, pids(folder))), "atc and its worker are gone")
    assert Store(folder / "store").root.exists() is False or artifacts(folder) == []


def command(folder, *arguments, **options):
    """The command line in a process of its own, which starts a Ray of its own."""
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    if not options.pop("start_ray", True):
        environment["RAY_TMPDIR"] = str(folder / "net.yaml")  # a file: no session can be made under it
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "compile_jobs",
            *arguments,
            *("--store", str(folder / "store"), "--atc", options.pop("atc", str(folder / "atc"))),
        ],
        # A killed build cannot clear its scratch folder away; here it goes with the test's.
        env=environment | {"NO_COLOR": "1", "TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_command_line_ends_with_a_table_and_a_status(folder):
    running = command(folder, str(folder / "net.yaml"), "--soc", "Ascend310P3", "--soc", "Ascend310B1")
    out, err = running.communicate(timeout=LIMIT_S)
    assert (running.returncode, err) == (1, "")
    table = out.splitlines()[-3:]
    assert table[0].split() == ["target", "result", "time", "size", "path", "or", "cause"]
    assert table[1].split()[:2] == ["net@Ascend310P3", "built"]
    assert Path(table[1].split()[-1]).read_bytes() == (folder / "Ascend310P3.om").read_bytes()
    assert table[2].split()[:2] == ["net@Ascend310B1", "failed"]
    assert "E10016: Op name x is not found" in table[2]


def test_what_is_there_already_needs_no_ray(folder):
    arguments = (str(folder / "net.yaml"), "--soc", "Ascend310P3")
    compile_target(
        load_recipe(folder / "net.yaml"), "Ascend310P3", Store(folder / "store"), atc=folder / "atc"
    )
    out, err = command(folder, *arguments, start_ray=False).communicate(timeout=LIMIT_S)
    assert (err, out.splitlines()[1].split()[:2]) == ("", ["net@Ascend310P3", "cached"])


def test_a_terminal_gets_a_live_table_and_then_the_results():
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    failed = TargetResult("net", "Ascend310B1", "failed", 1.5, cause="no [such] operator")
    with progress_of(console, "net", ["Ascend310P3", "Ascend310B1"]) as note:
        note(TargetStarted("Ascend310B1"))
        note(failed)
    show_results(console, [failed])
    shown = Text.from_ansi(console.file.getvalue()).plain
    for words in ("net@Ascend310P3 waiting", "path or cause", "no [such] operator", "1.5 s"):
        assert words in " ".join(shown.split())


@pytest.mark.parametrize(
    ("arguments", "atc", "says"),
    [
        (["net.yaml", "--soc", "Ascend310P9"], "atc", "unknown SoC 'Ascend310P9'"),
        (["net.yaml", "--soc", "Ascend310P3"], "gone", "no program that can be run"),
        (["gone.yaml", "--soc", "Ascend310P3"], "atc", "cannot read the recipe"),
        (["bad.yaml", "--soc", "Ascend310P3"], "atc", "unknown key 'gaers'; did you mean 'gears'?"),
        (["lost.yaml", "--soc", "Ascend310P3"], "atc", "lost.onnx does not exist"),
    ],
)
def test_what_is_wrong_is_one_line_and_status_2(folder, arguments, atc, says):
    (folder / "bad.yaml").write_text("name: net\nsource: net.onnx\ngaers: [1]\n")
    (folder / "lost.yaml").write_text("name: net\nsource: lost.onnx\n")
    running = command(folder, str(folder / arguments[0]), *arguments[1:], atc=str(folder / atc))
    out, err = running.communicate(timeout=LIMIT_S)
    assert (running.returncode, out) == (2, "")
    assert err.startswith("error: ")
    assert says in err
    assert len(err.splitlines()) == 1
    assert not (folder / "store").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_ended_driver_leaves_no_atc(folder, number):
    running = command(folder, str(folder / "net.yaml"), "--soc", "Ascend310B4")
    until(lambda: len(pids(folder)) == 2, "atc and its worker run")
    running.send_signal(number)
    _, err = running.communicate(timeout=LIMIT_S)
    if number == signal.SIGINT:
        assert (running.returncode, err.splitlines()[-1][:11]) == (130, "interrupted")
    until(lambda: not any(map(alive, pids(folder))), "atc and its worker are gone")
    assert artifacts(folder) == []
