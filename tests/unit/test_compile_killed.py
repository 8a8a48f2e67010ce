"""A build that was ended from outside has failed, and says nothing of the next."""

import runpy
import stat
from pathlib import Path

import pytest

from ascend_serve.artifacts.store import Store
from ascend_serve.compiling.build import compile_target
from ascend_serve.compiling.toolchain import find_atc
from ascend_serve.errors import BuildFailed

pytestmark = pytest.mark.unit

NETS = runpy.run_path(str(Path(__file__).with_name("onnx_nets.py")))
SOC = "Ascend310P3"


@pytest.mark.parametrize("signal", ["KILL", "TERM", "INT"])
def test_what_was_killed_is_built_when_asked_for_again(tmp_path, signal):
    recipe = NETS["recipe_of"](tmp_path, NETS["CHAIN"], inputs={"image": [-1, 8, 2, 2]}, gears=[1, 2])
    atc = tmp_path / "atc"
    atc.write_text(
        "#!/bin/sh\n"
        f'if [ "$1" != --help ] && ! [ -e {tmp_path}/ended ]; then touch {tmp_path}/ended; kill -{signal} $$; fi\n'
        f'exec {find_atc(None)} "$@"\n'
    )
    atc.chmod(atc.stat().st_mode | stat.S_IXUSR)
    store = Store(tmp_path / "store")
    with pytest.raises(BuildFailed, match=f"SIG{signal}") as failed:
        compile_target(recipe, SOC, store, atc=atc)
    assert Path(failed.value.log_path).is_file()
    assert [failure.cause for _, failure in store.failures()] == [failed.value.cause]
    assert compile_target(recipe, SOC, store, atc=atc).soc == SOC
    assert list(store.failures()) == []
