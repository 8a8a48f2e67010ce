"""What the emulator's README shows happens as it says (emulator/README.md)."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contract.tools import installed_atc

pytestmark = [pytest.mark.contract, pytest.mark.usefixtures("emulator", "runtime_folder")]

README = (Path(__file__).resolve().parents[2] / "emulator/README.md").read_text()
NET, RUN, BUG = re.findall(r"```python\n(.*?)```", README, re.DOTALL)[:3]


def run(folder: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    # Findings go where a user sees them: to standard error.
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith("ASCEND_EMULATOR_STRICT")
    }
    return subprocess.run(
        command,
        cwd=folder,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def atc(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    common = ("--model=net.onnx", "--framework=5", "--output=net", "--soc_version=Ascend310P3")
    return run(folder, installed_atc(), *common, "--input_shape=x:1,4", *options)


def shown(text: str) -> str:
    """An indented block of the README, on one line as its long lines are broken."""
    return " ".join(text.split())


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("readme")
    (folder / "net.py").write_text(NET)
    assert run(folder, sys.executable, "net.py").returncode == 0
    done = atc(folder)
    assert done.returncode == 0, done.stdout
    assert shown(done.stdout) in shown(README)
    return folder


def test_the_ten_line_program(compiled: Path) -> None:
    (compiled / "run.py").write_text(RUN)
    done = run(compiled, sys.executable, "run.py")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"$ python run.py\n    {done.stdout}" in README
    assert len([line for line in RUN.splitlines() if line and not line.startswith("import")]) <= 10


def test_the_sanitizer_finds_the_planted_bug(compiled: Path) -> None:
    (compiled / "bug.py").write_text(BUG)
    done = run(compiled, sys.executable, "bug.py", ASCEND_EMULATOR_STRICT="1")
    assert done.returncode == 0
    assert done.stdout == "b'~~~~'\n"
    changing = r"0x[0-9a-f]+|process \d+|\S*bug\.py"
    wanted, said = re.sub(changing, "_", shown(README)), re.sub(changing, "_", shown(done.stderr))
    assert said in wanted


def test_atc_refuses_the_bad_command(compiled: Path) -> None:
    done = atc(compiled, "--dynamic_batch_size=1,4")
    assert done.returncode == 255
    changing = r"\[PID: \d+\] \S+ "
    assert shown(re.sub(changing, "", done.stdout)) in shown(re.sub(changing, "", README))
