"""The command line: what it prints, how it ends, and that nothing of it stays when it is ended."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import ray
from click.testing import CliRunner, Result

from compile_jobs.command import command
from tests.serve.compiling_tools import FAILS, HANGS, Workshop, alive
from tests.serve.tools import eventually, processes_of

pytestmark = pytest.mark.serve

SIGNALS = (signal.SIGINT, signal.SIGKILL)


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


def run(workshop: Workshop, *arguments: str | Path) -> Result:
    """Run the command in this process, on the cluster it is connected to."""
    told = [str(argument) for argument in arguments]
    return CliRunner().invoke(command, [*told, "--store", str(workshop.store), "--atc", str(workshop.atc)])


def soc(*names: str) -> list[str]:
    return [word for name in names for word in ("--soc", name)]


def test_without_a_terminal_it_prints_lines_a_table_and_the_failures(
    ray_cluster: None, workshop: Workshop
) -> None:
    ended = run(workshop, workshop.recipe(), *soc("Ascend310P3", FAILS))
    assert (ended.exit_code, ended.stderr) == (1, "")
    lines = ended.stdout.splitlines()
    whole = [line for line in lines if line.startswith("net@Ascend310P3")]
    assert whole[0] == "net@Ascend310P3: compiling"
    assert whole[1].startswith("net@Ascend310P3: built in ")
    row = whole[2].split()
    assert (row[1], row[3]) == ("built", "s")
    assert row[5] in ("B", "KiB")
    assert Path(row[6]).read_bytes() == (workshop.folder / "Ascend310P3.om").read_bytes()
    failure = lines[lines.index("") + 1 :]
    assert failure[0] == f"net@{FAILS}: E10016: Op name x is not found"
    told = {line.split(":")[0].strip(): line.split(":", 1)[1].strip() for line in failure[1:]}
    assert list(told) == ["what to do", "documented", "full output"]
    assert "E10016" in Path(told["full output"]).read_text()


def test_json_is_all_that_goes_to_stdout(ray_cluster: None, workshop: Workshop) -> None:
    ended = run(workshop, workshop.recipe(), *soc("Ascend310P3", FAILS), "--json")
    assert ended.exit_code == 1
    built, failed = json.loads(ended.stdout)
    assert (built["name"], built["soc"], built["outcome"], built["cause"]) == (
        "net",
        "Ascend310P3",
        "built",
        None,
    )
    assert Path(built["location"]).parts[-3] == built["key"]
    assert (failed["outcome"], failed["code"], failed["key"]) == ("failed", "E10016", None)
    assert "E10016" in Path(failed["log_path"]).read_text()
    assert f"net@{FAILS}: compiling" in ended.stderr.splitlines()


def test_auto_is_the_default_and_parameters_are_bound(ray_cluster: None, workshop: Workshop) -> None:
    recipe = workshop.recipe(
        "gears", gears="${gears}", parameters={"gears": "1,2"}, targets=["Ascend910B3"], output="out/net"
    )
    ended = run(workshop, recipe, "--set", "gears=1,4")
    assert ended.exit_code == 0, ended.output
    assert workshop.published() == ["gears@Ascend310P3", "gears@Ascend910B3"]
    for name in ("Ascend310P3", "Ascend910B3"):
        exported = workshop.folder / f"out/net_{name}.om"
        assert exported.read_bytes() == (workshop.folder / f"{name}.om").read_bytes()
    alone = run(workshop, recipe, "--set", "gears=1,4", *soc("Ascend310P3"))
    assert alone.exit_code == 0, alone.output
    assert (workshop.folder / "out/net.om").is_file()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["net.yaml", "--soc", "Ascend310P9"], "unknown SoC 'Ascend310P9'"),
        (["gone.yaml"], "cannot read the recipe"),
        (["bad.yaml"], "unknown key 'gaers'; did you mean 'gears'?"),
        (["net.yaml", "--set", "gears"], "--set gears: give NAME=VALUE"),
        (["net.yaml", "--set", "gears=1"], "--set gears=…: the recipe has no such parameter"),
        (["net.yaml", "twin.yaml"], "is that of 2 recipes (net, twin): give each one of its own"),
    ],
)
def test_what_is_wrong_is_one_line_and_status_2(
    ray_cluster: None, workshop: Workshop, arguments: list[str], says: str
) -> None:
    workshop.recipe(output="out/net")
    workshop.recipe("twin", output="./out/../out/net")
    workshop.recipe("bad", gaers=[1])
    told = [workshop.folder / word if word.endswith(".yaml") else word for word in arguments]
    ended = run(workshop, *told)
    assert (ended.exit_code, ended.stdout) == (2, "")
    assert ended.stderr.startswith("error: ")
    assert says in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert not workshop.store.exists()


def test_what_cannot_be_copied_is_told_beside_the_results(ray_cluster: None, workshop: Workshop) -> None:
    (workshop.folder / "out/blocked.om").mkdir(parents=True)
    blocked = workshop.recipe("blocked", output="out/blocked")
    ended = run(workshop, blocked, workshop.recipe(output="out/net"), *soc("Ascend310P3"))
    assert ended.exit_code == 1
    assert "blocked@Ascend310P3: cannot be copied to" in ended.stderr
    assert workshop.published() == ["blocked@Ascend310P3", "net@Ascend310P3"]
    assert "net@Ascend310P3      built" in ended.stdout
    assert (workshop.folder / "out/net.om").is_file()


def test_values_of_options_are_named_as_in_other_verbs() -> None:
    shown = CliRunner().invoke(command, ["--help"]).stdout
    for option in ("--soc SOC ", "--set NAME=VALUE ", "--store URL ", "--atc PROGRAM "):
        assert option in shown


@pytest.mark.parametrize(
    ("address", "says"),
    [("127.0.0.1:1", "where no Ray cluster answers"), ("ray://127.0.0.1:1", "submit this command as a job")],
)
def test_a_wrong_address_is_told_at_once(workshop: Workshop, address: str, says: str) -> None:
    started = workshop.command(workshop.recipe(), RAY_ADDRESS=address)
    assert (started.ended(), started.out) == (2, "")
    assert says in started.err
    assert len(started.err.splitlines()) == 1


class Hanging:
    """The command with a Ray of its own, one of whose builds waits until it is killed."""

    def __init__(self, folder: Path, session: Path) -> None:
        self.workshop, self.session = Workshop(folder), session
        self.recipe = self.workshop.recipe()
        told = soc("Ascend310P3", HANGS)
        self.command = self.workshop.command(self.recipe, *told, RAY_TMPDIR=str(session))


@pytest.fixture(scope="module")
def hanging(socket_folder: Callable[[], Path]) -> Iterator[dict[signal.Signals, Hanging]]:
    """One to end by each signal, started side by side."""
    sessions = {number: socket_folder() for number in SIGNALS}
    commands = {number: Hanging(socket_folder(), session) for number, session in sessions.items()}
    yield commands
    for each in commands.values():
        each.command.process.kill()
        each.command.ended()


@pytest.mark.parametrize("number", SIGNALS)
def test_an_ended_command_leaves_what_is_finished_and_nothing_else(
    ray_cluster: None, hanging: dict[signal.Signals, Hanging], number: signal.Signals
) -> None:
    workshop, session, started = hanging[number].workshop, hanging[number].session, hanging[number].command
    eventually("atc and its worker run", lambda: len(workshop.diary()) == 3)
    eventually("one build is finished", lambda: workshop.finished() == ["net@Ascend310P3"])
    assert "raylet" in {process.info["name"] for process in processes_of(session)}
    if number == signal.SIGINT:
        os.killpg(started.process.pid, number)  # as a terminal does
        assert started.ended() == 130
        assert started.err.splitlines() == ["interrupted: what was not finished is not in the store"]
    else:
        started.process.send_signal(number)
        assert started.ended() == -number
    eventually("atc and its worker are gone", lambda: not any(alive(pid) for _, pid in workshop.diary()))
    eventually("Ray's processes are gone", lambda: not processes_of(session))
    assert workshop.published() == ["net@Ascend310P3"]

    again = run(workshop, hanging[number].recipe, *soc("Ascend310P3", "Ascend310P1"))
    assert [line.split()[1] for line in again.stdout.splitlines()[-2:]] == ["cached", "built"]
    assert workshop.runs().count("net@Ascend310P3") == 1


def test_what_is_there_already_needs_no_ray(ray_cluster: None, workshop: Workshop) -> None:
    arguments = (workshop.recipe(), *soc("Ascend310P3", "Ascend310P1"))
    assert run(workshop, *arguments).exit_code == 0
    no_folder = str(workshop.recipe())  # no session can be made under a file
    started = workshop.command(*arguments, RAY_TMPDIR=no_folder)
    assert (started.ended(), started.err) == (0, "")
    assert [line.split()[1] for line in started.out.splitlines()[-2:]] == ["cached", "cached"]


def test_drivers_at_once_build_once(
    ray_cluster: None, workshop: Workshop, socket_folder: Callable[[], Path]
) -> None:
    """One with a Ray of its own, and two on one cluster."""
    held = workshop.hold()
    arguments = (workshop.recipe(), *soc("Ascend310P3", FAILS))
    address = ray.get_runtime_context().gcs_address
    drivers = [
        workshop.command(*arguments, log="own", RAY_TMPDIR=str(socket_folder())),
        *(workshop.command(*arguments, log=f"shared{n}", RAY_ADDRESS=address) for n in range(2)),
    ]
    lines = [f"net@Ascend310P3: {step}" for step in ("compiling", "waiting")]
    eventually(
        "one builds, two wait for it",
        lambda: all(any(line in driver.out.splitlines() for line in lines) for driver in drivers),
    )
    held.unlink()
    assert [driver.ended() for driver in drivers] == [1, 1, 1]
    rows = [driver.out.splitlines() for driver in drivers]
    results = [next(line.split()[1] for line in out if line.startswith("net@Ascend310P3 ")) for out in rows]
    assert sorted(results) == ["built", "cached", "cached"]
    # The failure was met by all, and by `atc` once.
    assert workshop.runs() == sorted(["net@Ascend310P3", f"net@{FAILS}"])
    assert sum("Kept from" in driver.out for driver in drivers) == 2


def test_what_ray_says_of_a_killed_worker_is_kept_out_of_the_json(
    workshop: Workshop, ray_cluster: None
) -> None:
    address = ray.get_runtime_context().gcs_address
    started = workshop.command(workshop.recipe(), *soc("Ascend310P3", HANGS), "--json", RAY_ADDRESS=address)
    eventually("atc and its worker run", lambda: len(workshop.diary()) == 3)
    atc = next(pid for label, pid in workshop.diary() if label == f"net@{HANGS}")
    worker = psutil.Process(atc).parent()
    assert worker is not None
    worker.kill()
    assert started.ended() == 1
    assert [result["outcome"] for result in json.loads(started.out)] == ["built", "failed"]
    assert "Traceback" not in started.err
