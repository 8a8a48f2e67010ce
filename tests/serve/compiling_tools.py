"""A workshop for tests of builds: small recipes, and an `atc` that does as it is told and keeps a diary."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx
import psutil

from ascend_serve import env
from tests.serve.tools import ROOT, eventually
from tests.unit.om_writer import gear_model
from tests.unit.onnx_nets import network

FAILS, HANGS = "Ascend310B1", "Ascend310B4"
"""For these two SoCs the workshop's `atc` fails with E10016, and waits until it is killed."""

LIMIT_S = 180.0

_PLAIN = "net (float[N,3,2] image) => (float[N,3,2] y) { y = Relu(image) }"
_DENSE = "net (float[N,3,2] image) => (float[N,3,2] y) <float[2,2] w> { y = MatMul(image, w) }"
"""Something that AOE tunes."""

_ATC = """#!/bin/sh
if [ "$1" = --help ]; then echo usage; exit 0; fi
for a in "$@"; do case $a in --output=*) out=${a#*=};; --soc_version=*) soc=${a#*=};; esac; done
echo "$(basename "$out")@$soc $$ $ASCEND_EMULATOR_NODE" >> FOLDER/diary
case $soc in
Ascend310B1) echo ATC run failed, see the log; echo 'E10016: Op name x is not found'; exit 255;;
Ascend310B4) tail -f /dev/null & echo "$(basename "$out")@$soc $! worker" >> FOLDER/diary; wait;;
esac
while [ -e FOLDER/hold ]; do sleep 0.02; done
cp "FOLDER/$soc.om" "$out.om"
echo ATC run success, welcome to the next use.
"""


class Workshop:
    """A folder with a model, recipes, a store and an `atc` that copies a ready-made `.om` for the SoC asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = folder / "store"
        self.atc = folder / "atc"
        vendor = env.acl_distribution()
        note = " ".join(vendor).encode() if vendor else b""
        for soc in ("Ascend310P1", "Ascend310P3", "Ascend910B3"):
            (folder / f"{soc}.om").write_bytes(gear_model(soc=soc, gears=(1, 4), note=note))
        onnx.save(network(_PLAIN), folder / "net.onnx")
        onnx.save(network(_DENSE), folder / "dense.onnx")
        self.atc.write_text(_ATC.replace("FOLDER", str(folder)))
        self.atc.chmod(0o755)

    def recipe(self, name: str = "net", **changes: Any) -> Path:
        """Write a recipe; two names make two builds of different keys."""
        told: dict[str, Any] = {
            "name": name,
            "source": "net.onnx",
            "inputs": {"image": [-1, 3, 2]},
            "gears": [1, 4],
            "memory_bytes": 1_000_000,
            "num_cpus": 0.5,
        }
        path = self.folder / f"{name}.yaml"
        path.write_text(json.dumps(told | changes))  # JSON is YAML
        return path

    def hold(self) -> Path:
        """Keep every `atc` from finishing until the file that this gives is removed."""
        file = self.folder / "hold"
        file.touch()
        return file

    def diary(self) -> list[tuple[str, int]]:
        """What `atc` was run for, as `name@SoC`, and its process; for `HANGS` also that of its worker."""
        file = self.folder / "diary"
        lines = file.read_text().splitlines() if file.exists() else []
        return [(line.split()[0], int(line.split()[1])) for line in lines]

    def nodes(self) -> dict[str, list[str]]:
        """The emulated nodes that `atc` was run on, by what for; in order."""
        nodes: dict[str, list[str]] = {}
        for line in (self.folder / "diary").read_text().splitlines():
            label, _, node = line.split()
            nodes.setdefault(label, []).append(node)
        return nodes

    def runs(self) -> list[str]:
        """What `atc` was run for, sorted."""
        return sorted(label for label, _ in self.diary())

    def finished(self) -> list[str]:
        """What the store holds by now, as `name@SoC`, sorted; others may be publishing at this moment."""
        manifests = [json.loads(path.read_bytes()) for path in self.store.glob("??/*/manifest.json")]
        return sorted(f"{manifest['name']}@{manifest['soc']}" for manifest in manifests)

    def published(self) -> list[str]:
        """What the store holds, as `name@SoC`, sorted; fails on a file that no manifest names."""
        files = set()
        for path in self.store.glob("??/*/manifest.json"):
            manifest = json.loads(path.read_bytes())
            sets = [folder for folder in path.parent.iterdir() if folder.is_dir()]
            files |= {folder / file["name"] for folder in sets for file in manifest["files"]} | {path}
        there = {path for path in self.store.rglob("*") if path.is_file()}
        rooms = {path.relative_to(self.store).parts[0] for path in there - files}
        assert rooms <= {"failed", "building"}, f"half-written: {there - files}"
        return self.finished()

    def command(self, *arguments: str | Path, log: str = "command", **variables: str) -> "Command":
        """Start the command line in a process of its own, with this store and `atc`."""
        environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
        # A killed build cannot clear its scratch folder away; here it goes with the test's.
        environment |= {"NO_COLOR": "1", "TMPDIR": str(self.folder), **variables}
        told = [str(argument) for argument in arguments]
        out, err = self.folder / f"{log}.out", self.folder / f"{log}.err"
        with out.open("wb") as stdout, err.open("wb") as stderr:
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "compile_jobs",
                    *told,
                    "--store",
                    str(self.store),
                    "--atc",
                    str(self.atc),
                ],
                cwd=ROOT,
                env=environment,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )
        return Command(process, out, err)


class Command:
    """A command that runs, and what it has printed so far."""

    def __init__(self, process: "subprocess.Popen[bytes]", out: Path, err: Path) -> None:
        self.process = process
        self._out, self._err = out, err

    @property
    def out(self) -> str:
        return self._out.read_text()

    @property
    def err(self) -> str:
        return self._err.read_text()

    def ended(self) -> int:
        """Wait for its end; its status."""
        return self.process.wait(timeout=LIMIT_S)

    def says(self, line: str) -> None:
        """Wait until a line is among what it printed."""
        eventually(f"{line!r} in {self.out!r}, beside {self.err!r}", lambda: line in self.out.splitlines())


def alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
