"""Every real `.om` in the folder that ASCEND_TEST_OM_FILES names, at any depth, is read.

Public ones lie in the repositories that `hicann/ge`, `modelbox-ai/modelbox`, `Ascend/ModelZoo-TensorFlow`,
`DragonGongY/nanotrack_hisi_ss928`, `HelloChang1/Nanotrack_Atlas200I_Inference`,
`a-ircle/atlas200i-line-tracking-car` and `sth1002/atlas200DK` are. What does not begin as an `.om` must be refused with
a reason.
"""

import json
import os
from pathlib import Path

import pytest

from ascend_serve.artifacts.om.file import read_om_file
from ascend_serve.artifacts.om.report import differences, report
from ascend_serve.artifacts.om.text import sections
from ascend_serve.errors import NotAnOm

pytestmark = pytest.mark.unit

FOLDER = os.environ.get("ASCEND_TEST_OM_FILES")
if not FOLDER:
    pytest.skip("ASCEND_TEST_OM_FILES names no folder of real .om files", allow_module_level=True)


def begins_as_om(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"IMOD"


FILES = sorted(path for path in Path(FOLDER).rglob("*.om") if path.is_file())
WHOLE = [path for path in FILES if begins_as_om(path)]


def test_the_folder_holds_files() -> None:
    assert WHOLE, f"no .om in {FOLDER}"


@pytest.mark.parametrize("path", WHOLE, ids=lambda path: path.name)
def test_it_is_read(path: Path) -> None:
    om = read_om_file(path, deep=True)
    told = json.loads(json.dumps(report(om)))
    models = told["contained"] or [told]
    for model in models:
        assert model["inputs"]
        assert model["outputs"]
        assert all(tensor["name"] for tensor in (*model["inputs"], *model["outputs"]))
    # Only header version 1 and test data of the graph engine tell no SoC.
    assert told["soc"] or not told["command"]["line"]
    assert told["file"]["bytes"] == path.stat().st_size
    assert sections(told)
    assert differences(om, om) == []


@pytest.mark.parametrize("path", [path for path in FILES if path not in WHOLE], ids=lambda path: path.name)
def test_what_is_none_is_refused_with_a_reason(path: Path) -> None:
    with pytest.raises(NotAnOm, match=r"no offline model: .{10}"):
        read_om_file(path)
