"""What doctor reads: version files, npu-smi's table, device files and variables, all from text and a folder."""

from pathlib import Path

import pytest
from ascend_emulator.settings import read_settings
from ascend_emulator.smi.npus import read_node
from ascend_emulator.smi.pages import mapping
from ascend_emulator.smi.table import overview
from hypothesis import given
from hypothesis import strategies as st

from ascend_serve.examining.facts import Chip, Holder, Package
from ascend_serve.examining.host import HostReader
from ascend_serve.examining.smi import parse_places, parse_smi
from ascend_serve.examining.version_files import parse_package, within, works_together
from ascend_serve.examining.visible import read_visible

pytestmark = pytest.mark.unit

DRIVER = """Version=24.1.rc3
ascendhal_version=7.35.23
aicpu_version=1.0
Innerversion=V100R001C19SPC001B124
compatible_version=[V100R001C13],[V100R001C15],[V100R001C17],[V100R001C18],[V100R001C19]
compatible_version_fw=[7.0.0,7.5.99]
package_version=24.1.rc3
"""
FIRMWARE = """Version=7.5.0.1.129
firmware_version=1.0
package_version=24.1.rc3
compatible_version_drv=[23.0.0,23.0.0.],[24.0,24.0.],[24.1,24.1.]
"""
TOOLKIT = """package_name=Ascend-cann-toolkit
version=8.2.RC1
innerversion=V100R001C22SPC001B231
compatible_version=[V100R001C15],[V100R001C18],[V100R001C19],[V100R001C20],[V100R001C21],[V100R001C23]
arch=aarch64
os=linux
path=/usr/local/Ascend/ascend-toolkit/8.2.RC1/aarch64-linux
"""
OPP = """Version=8.5.0.2.220
version_dir=8.5.0
timestamp=20251117_000024591
required_package_amct_acl_version="8.5"
"""


def package(text: str) -> Package:
    found = parse_package("file", text)
    assert found is not None
    return found


# --- version files ---------------------------------------------------------------------------------


def test_the_drivers_file() -> None:
    driver = package(DRIVER)
    assert (driver.version, driver.inner) == ("24.1.rc3", "V100R001C19SPC001B124")
    assert driver.compatible[0] == "V100R001C13"
    assert driver.firmware == (("7.0.0", "7.5.99"),)


def test_the_firmwares_file_has_a_version_of_its_own() -> None:
    assert package(FIRMWARE).version == "7.5.0.1.129"


def test_the_toolkits_files_of_two_ages() -> None:
    assert (package(TOOLKIT).version, package(TOOLKIT).inner) == ("8.2.RC1", "V100R001C22SPC001B231")
    assert (package(OPP).version, package(OPP).compatible) == ("8.5.0.2.220", ())
    assert parse_package("file", "nothing=1\n# words") is None


def test_packages_work_together_if_either_says_so() -> None:
    toolkit, driver = package(TOOLKIT), package(DRIVER)
    assert works_together(toolkit, driver)
    older = package(DRIVER.replace("V100R001C19SPC", "V100R001C14SPC"))
    assert works_together(toolkit, older) is False
    assert works_together(package(OPP), package("version=1")) is None


@pytest.mark.parametrize(
    ("version", "fits"),
    [
        ("7.5.0.1.129", True),
        ("7.5.99", True),
        ("7.5.99.9", True),
        ("7.6.0", False),
        ("6.9", False),
        ("7.0.0", True),
    ],
)
def test_firmware_is_compared_number_by_number(version: str, fits: bool) -> None:
    assert within(version, (("7.0.0", "7.5.99"),)) is fits
    assert within(version, (("1.0.0", "1.1.0"), ("7.0.0", "7.5.99"))) is fits
    assert not within(version, ())


# --- visible devices -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("listed", "physical", "stopped_at", "unordered"),
    [
        ("0,1", (0, 1), None, False),
        ("4,5,6,7", (4, 5, 6, 7), None, False),
        ("1, 2", (1,), " 2", False),
        ("1,3,8", (1, 3), "8", False),
        ("", (), "", False),
        ("a", (), "a", False),
        ("2,1", (2, 1), None, True),
        ("1,1", (1, 1), None, True),
    ],
)
def test_a_list_is_read_up_to_what_is_no_device(
    listed: str, physical: tuple[int, ...], stopped_at: str | None, unordered: bool
) -> None:
    """facts: pyACL §5.3."""
    assert read_visible(listed, 8) == (physical, stopped_at, unordered)


@given(st.text(alphabet="0123456789,- ٣", max_size=12))
def test_any_text_is_read(listed: str) -> None:
    visible = read_visible(listed, 4)
    assert all(0 <= card < 4 for card in visible.listed)
    assert visible.unordered == (sorted(set(visible.listed)) != list(visible.listed))
    if visible.stopped_at is None:
        assert listed.split(",") == [token for token in listed.split(",") if token.isdigit()]


# --- npu-smi ---------------------------------------------------------------------------------------

A2 = """
+------------------------------------------------------------------------------------------------+
| npu-smi 25.2.0                   Version: 25.2.0                                               |
+---------------------------+---------------+----------------------------------------------------+
| NPU   Name                | Health        | Power(W)    Temp(C)           Hugepages-Usage(page)|
| Chip                      | Bus-Id        | AICore(%)   Memory-Usage(MB)  HBM-Usage(MB)        |
+===========================+===============+====================================================+
| 0     910B4-1             | OK            | 91.3        33                0    / 0             |
| 0                         | 0000:C1:00.0  | 0           0    / 0          3197 / 65536         |
+===========================+===============+====================================================+
| 1     910B4-1             | Warning       | 90.0        33                0    / 0             |
| 0                         | 0000:01:00.0  | 0           0    / 0          52713/ 65536         |
+===========================+===============+====================================================+
+---------------------------+---------------+----------------------------------------------------+
| NPU     Chip              | Process id    | Process name             | Process memory(MB)      |
+===========================+===============+====================================================+
| No running processes found in NPU 0                                                            |
+===========================+===============+====================================================+
| 1       0                 | 4711          | python                   | 49000                   |
+===========================+===============+====================================================+
"""


def test_the_table_of_an_a2() -> None:
    smi = parse_smi(A2, lambda pid: False)
    assert smi.chips == (Chip(0, 0, "OK", 3197, 65536), Chip(1, 0, "Warning", 52713, 65536))
    assert smi.holders == (Holder(1, 0, 4711, "python", 49000, alive=False),)
    assert smi.trouble == ""


@pytest.mark.parametrize(
    "soc", ["Ascend310P3", "Ascend310B1", "Ascend910B3", "Ascend910_9362", "Ascend950PR_9579"]
)
def test_the_table_of_every_family(soc: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("ASCEND_EMULATOR_SOC", soc)
    node = read_node(read_settings())
    smi = parse_smi("\n".join(overview(node)), lambda pid: True)
    assert [(chip.npu, chip.chip) for chip in smi.chips] == [
        (npu.number, chip.index) for npu in node.npus for chip in npu.chips
    ]
    assert {chip.health for chip in smi.chips} == {"OK"}
    assert all(chip.total_mib == node.npus[0].chips[0].total_mib for chip in smi.chips)


@pytest.mark.parametrize(("soc", "told"), [("Ascend310P3", (0, None)), ("Ascend910_9362", (0, 0))])
def test_which_device_is_which(
    soc: str, told: tuple[int, int | None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("ASCEND_EMULATOR_SOC", soc)
    node = read_node(read_settings())
    places = parse_places("\n".join(mapping(node)))
    assert [(place.npu, place.chip) for place in places] == [
        (npu.number, chip.index) for npu in node.npus for chip in npu.chips
    ]
    assert (places[0].logical, places[0].physical) == told
    assert parse_places("no table") == ()


def test_what_is_no_table_is_told() -> None:
    smi = parse_smi(
        "DrvMngGetConsoleLogLevel failed.\ndcmi module initialize failed. ret is -8005\n", lambda pid: True
    )
    assert smi.trouble == "dcmi module initialize failed. ret is -8005"
    assert parse_smi("", lambda pid: True).trouble == "it printed nothing"


# --- the machine -----------------------------------------------------------------------------------


def put(root: Path, name: str, text: str = "") -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_a_machine_with_everything(tmp_path: Path) -> None:
    for name in ("davinci0", "davinci11", "davinci_manager", "devmm_svm", "hisi_hdc", "null"):
        put(tmp_path, f"dev/{name}")
    put(tmp_path, "etc/ascend_install.info", "UserName=HwHiAiUser\nDriver_Install_Path_Param=/opt/Ascend\n")
    put(tmp_path, "opt/Ascend/driver/version.info", DRIVER)
    put(tmp_path, "opt/Ascend/firmware/version.info", FIRMWARE)
    put(tmp_path, "usr/local/Ascend/ascend-toolkit/set_env.sh")
    put(tmp_path, "opt/cann/aarch64-linux/ascend_toolkit_install.info", TOOLKIT)
    put(tmp_path, "opt/Ascend/driver/lib64/driver/libascend_hal.so")
    variables = {
        "ASCEND_HOME_PATH": "/opt/cann",
        "LD_LIBRARY_PATH": "/nowhere:/opt/Ascend/driver/lib64/driver",
        "ASCEND_RT_VISIBLE_DEVICES": "0",
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
    }
    reader = HostReader(variables, root=tmp_path, may_use=lambda path: path.name != "davinci11")
    host, environment = reader.host(), reader.environment()
    assert list(host.device_files) == [0, 11]
    assert [file.usable for file in host.device_files.values()] == [True, False]
    assert set(host.manager_files) == {"davinci_manager", "devmm_svm", "hisi_hdc"}
    assert host.driver == parse_package("/opt/Ascend/driver/version.info", DRIVER)
    assert host.firmware is not None
    assert host.firmware.version == "7.5.0.1.129"
    assert host.toolkit == parse_package("/opt/cann/aarch64-linux/ascend_toolkit_install.info", TOOLKIT)
    assert host.set_env == "/usr/local/Ascend/ascend-toolkit/set_env.sh"
    assert host.hal_folder == "/opt/Ascend/driver/lib64/driver"
    assert not host.contained
    assert (environment.ascend_rt_visible_devices, environment.on_fast_path) == ("0", True)


def test_a_machine_with_nothing(tmp_path: Path) -> None:
    host = HostReader({}, root=tmp_path).host()
    assert (host.driver, host.firmware, host.toolkit, host.set_env, host.hal_folder) == (None,) * 5
    assert (host.device_files, host.manager_files) == ({}, {})


@pytest.mark.parametrize("mark", [".dockerenv", "run/.containerenv"])
def test_the_inside_of_a_container(tmp_path: Path, mark: str) -> None:
    put(tmp_path, mark)
    assert HostReader({}, root=tmp_path).host().contained
    assert HostReader({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, root=tmp_path / "other").host().contained


def test_the_loaders_own_folders_are_looked_into(tmp_path: Path) -> None:
    put(tmp_path, "etc/ld.so.conf.d/ascend.conf", "# words\n/usr/lib/ascend\n")
    put(tmp_path, "usr/lib/ascend/libascend_hal.so")
    assert HostReader({}, root=tmp_path).host().hal_folder == "/usr/lib/ascend"
