"""What doctor makes of facts: each fault is told with its rule and its fix, and what is in order is told as that."""

import json
from dataclasses import replace

import pytest
from click.testing import CliRunner

from ascend_serve.cli import doctor
from ascend_serve.examining import Facts, Finding, Level, examine
from ascend_serve.examining.facts import (
    Artifacts,
    Atc,
    Chip,
    Cluster,
    Compiled,
    DeviceFile,
    Environment,
    Holder,
    Host,
    Node,
    Package,
    Place,
    Pyacl,
    Smi,
)
from ascend_serve.spec.toolchain import CANN, Toolchain

pytestmark = pytest.mark.unit

FILE = DeviceFile("/dev/davinci0", "HwHiAiUser:HwHiAiUser", 0o660, usable=True)
DRIVER = Package("/d/version.info", "25.2.0", "V100R001C22SPC002", ("V100R001C22",), (("7.0.0", "7.8.99"),))
TOOLKIT = Package("/t/install.info", "8.2.RC1", "V100R001C22SPC001")
HOST = Host(
    user="me",
    groups=("HwHiAiUser", "users"),
    contained=False,
    device_files={0: FILE, 1: replace(FILE, path="/dev/davinci1")},
    manager_files={
        name: replace(FILE, path=f"/dev/{name}") for name in ("davinci_manager", "devmm_svm", "hisi_hdc")
    },
    driver=DRIVER,
    firmware=Package("/f/version.info", "7.7.0.1.231"),
    toolkit=TOOLKIT,
    set_env="/usr/local/Ascend/ascend-toolkit/set_env.sh",
    hal_folder="/usr/local/Ascend/driver/lib64/driver",
)
CARD = Facts(
    host=HOST,
    environment=Environment(ascend_home_path="/usr/local/Ascend/ascend-toolkit/latest", on_fast_path=True),
    pyacl=Pyacl(
        "/t/acl.so", Toolchain(CANN, "8.2.RC1"), soc_name="Ascend910B3", ordinals=2, healthy=(True, True)
    ),
    atc=Atc("/t/bin/atc", CANN),
    artifacts=Artifacts("/store", (Compiled("resnet", "Ascend910B3", CANN),)),
    smi=Smi(
        (Chip(0, 0, "OK", 3197, 65536), Chip(1, 0, "OK", 9000, 65536)),
        (Holder(1, 0, 7, "python", 5000, True),),
    ),
    cluster=Cluster((Node("10.0.0.1", True, 2.0, "Ascend910B3"),), fast_path=True),
)
"""A machine with two cards, on which everything is in order."""

EMULATED = Facts(
    host=replace(
        HOST, device_files={}, manager_files={}, driver=None, firmware=None, toolkit=None, set_env=None
    ),
    environment=Environment(),
    pyacl=Pyacl(
        "/p/acl.py", Toolchain("other", "1"), soc_name="Ascend310P3", ordinals=4, healthy=(True,) * 4
    ),
    atc=Atc("/p/atc", "other"),
    artifacts=Artifacts("/store"),
)
"""A machine without a card, whose `acl` is of an installed distribution."""


def worst(facts: Facts) -> list[Finding]:
    return [finding for finding in examine(facts) if finding.level in (Level.WARNING, Level.ERROR)]


def changed(part: str, **fields: object) -> Facts:
    """The machine with cards, but for one part."""
    return replace(CARD, **{part: replace(getattr(CARD, part), **fields)})


def test_a_machine_in_order_has_nothing_to_be_mended() -> None:
    assert worst(CARD) == []
    assert {finding.level for finding in examine(CARD)} == {Level.OK}


def test_a_machine_without_a_card_is_in_order_too_and_says_so() -> None:
    assert worst(EMULATED) == []
    told = [finding.value for finding in examine(EMULATED) if finding.check == "acl"]
    assert told == ["/p/acl.py, of other 1: not CANN's, so devices are not real cards"]


NOTHING = Pyacl(None, None)
CASES: dict[str, tuple[Facts, Level, str, str, str]] = {
    "no driver": (
        replace(
            changed("host", device_files={}, manager_files={}, driver=None, firmware=None),
            pyacl=replace(CARD.pyacl, ordinals=0, healthy=()),
            smi=None,
        ),
        Level.ERROR,
        "driver",
        "no /dev/davinci0",
        "install the driver",
    ),
    "no driver in a container": (
        replace(
            changed("host", device_files={}, manager_files={}, driver=None, contained=True),
            pyacl=replace(CARD.pyacl, ordinals=0, healthy=()),
        ),
        Level.ERROR,
        "driver",
        "no /dev/davinci0",
        "--device=/dev/davinci_manager",
    ),
    "files but no version": (
        changed("host", driver=None),
        Level.WARNING,
        "driver",
        "no driver/version.info",
        "install the driver",
    ),
    "firmware": (
        changed("host", firmware=Package("/f", "7.9.0.1")),
        Level.ERROR,
        "firmware",
        "firmware 7.9.0.1 with driver 25.2.0",
        "one release",
    ),
    "no device files": (
        changed("host", device_files={}),
        Level.ERROR,
        "device files",
        "although a driver is installed",
        "reboot",
    ),
    "no manager": (
        changed("host", manager_files={}),
        Level.ERROR,
        "device files",
        "/dev/davinci_manager is missing",
        "--device=",
    ),
    "no memory file": (
        changed("host", manager_files={"davinci_manager": FILE}),
        Level.WARNING,
        "device files",
        "/dev/devmm_svm, /dev/hisi_hdc",
        "--device=",
    ),
    "permission": (
        changed("host", device_files={0: replace(FILE, usable=False)}, groups=("users",)),
        Level.ERROR,
        "permissions",
        "/dev/davinci0: HwHiAiUser:HwHiAiUser 660, and me is in users",
        "usermod -aG HwHiAiUser me",
    ),
    "permission in a container": (
        changed("host", device_files={0: replace(FILE, usable=False)}, contained=True),
        Level.ERROR,
        "permissions",
        "/dev/davinci0",
        "CAP_DAC_OVERRIDE",
    ),
    "not sourced": (
        changed("environment", ascend_home_path=None),
        Level.ERROR,
        "CANN",
        "ASCEND_HOME_PATH is not set",
        "source /usr/local/Ascend/ascend-toolkit/set_env.sh",
    ),
    "no toolkit": (
        replace(changed("host", set_env=None), environment=Environment(on_fast_path=True)),
        Level.ERROR,
        "CANN",
        "a driver, but no toolkit",
        "install CANN",
    ),
    "home without a toolkit": (
        changed("host", toolkit=None),
        Level.ERROR,
        "CANN",
        "has no ascend_toolkit_install.info",
        "new shell",
    ),
    "no library": (
        changed("host", hal_folder=None),
        Level.WARNING,
        "libraries",
        "libascend_hal.so",
        "driver/lib64",
    ),
    "versions": (
        changed("host", driver=replace(DRIVER, inner="V100R001C30B1", compatible=("V100R001C30",))),
        Level.ERROR,
        "versions",
        "CANN 8.2.RC1 (V100R001C22SPC001) with driver 25.2.0",
        "install a driver",
    ),
    "no acl": (replace(CARD, pyacl=NOTHING), Level.ERROR, "acl", "no module acl", "set_env.sh"),
    "silent acl": (
        changed(
            "pyacl",
            trouble="acl.rt.get_device_count returned 507033",
            ordinals=None,
            soc_name=None,
            healthy=(),
        ),
        Level.ERROR,
        "acl",
        "507033",
        "ASCEND_GLOBAL_LOG_LEVEL",
    ),
    "another's acl": (
        replace(
            changed("pyacl", provider=Toolchain("other", "1")),
            atc=Atc("/p/atc", "other"),
            artifacts=Artifacts("/s"),
        ),
        Level.ERROR,
        "acl",
        "although CANN is set up",
        "uninstall other",
    ),
    "acl of another version": (
        changed("pyacl", provider=Toolchain(CANN, "8.0.RC3")),
        Level.WARNING,
        "acl",
        "CANN 8.0.RC3, ASCEND_HOME_PATH has 8.2.RC1",
        "new shell",
    ),
    "no atc": (
        replace(CARD, atc=Atc(None, trouble="no `atc`")),
        Level.WARNING,
        "atc",
        "no `atc`",
        "ASCEND_SERVE_ATC",
    ),
    "another's atc": (
        replace(CARD, atc=Atc("/p/atc", "other")),
        Level.ERROR,
        "atc",
        "/p/atc is of other, acl is of CANN",
        "ASCEND_SERVE_ATC",
    ),
    "unordered": (
        changed("environment", ascend_rt_visible_devices="1,0"),
        Level.ERROR,
        "visible",
        "ASCEND_RT_VISIBLE_DEVICES=1,0",
        "export ASCEND_RT_VISIBLE_DEVICES=0,1",
    ),
    "a blank": (
        changed("environment", ascend_rt_visible_devices="0, 1"),
        Level.ERROR,
        "visible",
        "seen are 0",
        "0,1,1",
    ),
    "silently dropped": (
        replace(
            changed("environment", ascend_rt_visible_devices="0,1"),
            pyacl=replace(CARD.pyacl, ordinals=1, healthy=(True,)),
        ),
        Level.ERROR,
        "visible",
        "2 devices, and acl.rt.get_device_count() says 1",
        "Chip Logic ID",
    ),
    "no devices": (
        changed("pyacl", ordinals=0, healthy=()),
        Level.ERROR,
        "devices",
        "says 0",
        "ASCEND_RT_VISIBLE_DEVICES",
    ),
    "no name": (changed("pyacl", soc_name=None), Level.ERROR, "devices", "get_soc_name", "newer driver"),
    "unknown name": (
        changed("pyacl", soc_name="Ascend1Z"),
        Level.WARNING,
        "devices",
        "2 of Ascend1Z",
        "very name",
    ),
    "an ill device": (
        changed("pyacl", healthy=(True, False)),
        Level.ERROR,
        "devices",
        "query_device_status(1) says abnormal",
        "set -t reset",
    ),
    "npu-smi fails": (
        replace(CARD, smi=Smi(trouble="dcmi module initialize failed. ret is -8005")),
        Level.WARNING,
        "npu-smi",
        "-8005",
        "another container",
    ),
    "an ill chip": (
        replace(CARD, smi=Smi((Chip(0, 0, "Alarm", 1, 100),))),
        Level.ERROR,
        "health",
        "NPU 0 chip 0: Alarm",
        "-t health -i 0",
    ),
    "a dead process": (
        replace(CARD, smi=Smi((Chip(3, 1, "OK", 9000, 65536),), (Holder(3, 1, 9, "serve", 8000, False),))),
        Level.ERROR,
        "memory",
        "8000 MiB held by process 9 (serve), which does not run here",
        "reset -i 3 -c 1",
    ),
    "memory of nobody": (
        replace(CARD, smi=Smi((Chip(0, 0, "OK", 52713, 65536),))),
        Level.WARNING,
        "memory",
        "52713 of 65536 MiB in use, and no process on it",
        "other containers",
    ),
    "a store that cannot be read": (
        replace(CARD, artifacts=Artifacts("s3://x", trouble="no such bucket")),
        Level.WARNING,
        "artifacts",
        "no such bucket",
        "ASCEND_SERVE_STORE",
    ),
    "another SoC": (
        replace(CARD, artifacts=Artifacts("/s", (Compiled("resnet", "Ascend310P3", CANN),))),
        Level.WARNING,
        "artifacts",
        "'resnet' for Ascend310P3",
        "targets: [Ascend910B3]",
    ),
    "a SoC of the same architecture": (
        replace(CARD, artifacts=Artifacts("/s", (Compiled("resnet", "Ascend910B1", CANN),))),
        Level.WARNING,
        "artifacts",
        "of the same architecture as Ascend910B3",
        "targets: [Ascend910B3]",
    ),
    "another vendor's": (
        replace(CARD, artifacts=Artifacts("/s", (Compiled("resnet", "Ascend910B3", "other"),))),
        Level.WARNING,
        "artifacts",
        "made by other",
        "compile it with the atc of this machine",
    ),
    "all replicas take card 0": (
        changed("environment", ray_keeps_visible_devices=True),
        Level.ERROR,
        "Ray",
        "RAY_EXPERIMENTAL_NOSET_ASCEND_RT_VISIBLE_DEVICES is set",
        "unset",
    ),
    "a Ray that does not answer": (
        replace(CARD, cluster=Cluster(trouble="it did not answer within 30 s")),
        Level.WARNING,
        "Ray",
        "did not answer",
        "ray status",
    ),
    "no NPU in Ray": (
        replace(CARD, cluster=Cluster((Node("10.0.0.2", False, 0.0, ""),))),
        Level.ERROR,
        "Ray",
        "1 nodes, none with the resource NPU",
        "ray start",
    ),
    "no label": (
        replace(CARD, cluster=Cluster((Node("10.0.0.2", False, 4.0, ""),))),
        Level.WARNING,
        "Ray",
        "no label ray.io/accelerator-type",
        "--labels",
    ),
    "another count in Ray": (
        replace(CARD, cluster=Cluster((Node("10.0.0.1", True, 1.0, "Ascend910B3"),))),
        Level.WARNING,
        "Ray",
        "NPU 1, and acl.rt.get_device_count() says 2",
        "restart Ray",
    ),
    "another SoC in Ray": (
        replace(CARD, cluster=Cluster((Node("10.0.0.1", True, 2.0, "Ascend910B1"),))),
        Level.ERROR,
        "Ray",
        "label Ascend910B1, and acl.get_soc_name() says Ascend910B3",
        "restart Ray",
    ),
    "HAProxy before a Serve with a certificate": (
        replace(CARD, cluster=replace(CARD.cluster, tls=True)),
        Level.ERROR,
        "fast path",
        "on, of the Serve that runs, which was given a certificate",
        "restart Ray without RAY_SERVE_ENABLE_HA_PROXY",
    ),
    "the Python proxy": (
        replace(CARD, cluster=replace(CARD.cluster, fast_path=False)),
        Level.WARNING,
        "fast path",
        "off, of the Serve that runs",
        "ascend-serve run",
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_fault_is_told_with_its_rule_and_its_fix(case: tuple[Facts, Level, str, str, str]) -> None:
    facts, level, check, value, fix = case
    found = [one for one in worst(facts) if one.check == check and one.level is level and value in one.value]
    assert len(found) == 1, worst(facts)
    assert found[0].rule
    assert fix in found[0].fix


def test_the_python_proxy_is_in_order_where_it_speaks_tls() -> None:
    told = examine(replace(CARD, cluster=replace(CARD.cluster, fast_path=False, tls=True)))
    (found,) = (one for one in told if one.check == "fast path")
    assert (found.level, found.value) == (
        Level.OK,
        "off, of the Serve that runs, whose Python proxy speaks TLS",
    )


def test_every_fault_has_a_rule_and_a_fix() -> None:
    for facts, *_ in CASES.values():
        for finding in worst(facts):
            assert finding.rule, finding
            assert finding.fix, finding


def test_logical_ids_are_shown_beside_physical_ones() -> None:
    """A container that was given cards 4 and 5."""
    smi = replace(CARD.smi or Smi(), places=(Place(4, 0, 0, 4), Place(5, 0, 1, 5)))
    facts = replace(changed("environment", ascend_rt_visible_devices="1"), smi=smi)
    facts = replace(facts, pyacl=replace(facts.pyacl, ordinals=1, healthy=(True,)))
    told = {finding.check: finding.value for finding in examine(facts)}
    assert told["visible"] == "ASCEND_RT_VISIBLE_DEVICES=1: ordinal 0 is device 1 (NPU 5 chip 0, physical 5)"
    assert told["ids"] == "logical 0 is physical 4, logical 1 is physical 5"
    assert worst(facts) == []


def test_in_a_container_a_process_out_of_sight_is_no_fault() -> None:
    smi = Smi((Chip(0, 0, "OK", 9000, 65536),), (Holder(0, 0, 9, "serve", 8000, False),))
    facts = replace(changed("host", contained=True), smi=smi)
    assert worst(facts) == []
    assert any("look on the host" in finding.fix for finding in examine(facts))


@pytest.mark.parametrize(("facts", "status"), [(CARD, 0), (CASES["no acl"][0], 1), (CASES["no atc"][0], 0)])
def test_the_exit_status_is_1_for_errors_alone(
    facts: Facts, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "read_facts", lambda store, with_ray: facts)
    done = CliRunner().invoke(doctor.command, ["--json"])
    assert done.exit_code == status
    told = json.loads(done.stdout)
    assert len(told) == len(examine(facts))
    assert set(told[0]) == {"level", "check", "value", "rule", "fix"}
    shown = CliRunner().invoke(doctor.command, ["--no-ray"])
    assert shown.exit_code == status
    assert all(one["value"] in shown.stdout and one["fix"] in shown.stdout for one in told)
