"""What the tables of msprof come to, on tables as its guide shows them."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from ascend_serve.cli import profile as verb
from ascend_serve.errors import ConfigError
from ascend_serve.profiles import read_exported, summarise
from ascend_serve.profiles.exported import profiles_in

pytestmark = pytest.mark.unit

# Times carry a tab as msprof writes them, so that spreadsheets take them as text.
TASKS = """Device_id,kernel_name,kernel_type,stream_id,task_id,task_time(us),task_start(us),task_stop(us)
0,conv,AI_CORE,3,1,100.5,1700000000000100.250\t,1700000000000200.750\t
0,relu,KERNEL_AIVEC,3,2,50,1700000000000150.250\t,1700000000000200.250\t
0,copy,MEMCPY_ASYNC,4,3,500,1700000000000300.000\t,1700000000000800.000\t
0,conv,AI_CORE,3,4,100,1700000000000300.750\t,1700000000000400.750\t
0,conv,MIX_AIC,3,5,100,1700000000000410.750\t,1700000000000510.750\t
1,conv,AI_CORE,3,1,10,N/A,N/A
"""
OPERATORS = """Device_id,Model ID,Task ID,Stream ID,Op Name,OP Type,OP State,Task Type,Task Start Time(us),\
Task Duration(us),Task Wait Time(us),aicore_time(us),aic_mac_ratio,aic_main_mem_read_bw(GB/s),\
aiv_main_mem_write_bw(GB/s)
0,1,1,3,conv,Conv2D,static,AI_CORE,1\t,100,0,90,0.5,20,N/A
0,1,2,3,conv,Conv2D,static,AI_CORE,2\t,300,4,250,0.9,40,N/A
0,1,3,3,relu,Relu,static,AI_VECTOR_CORE,3\t,50,0,40,N/A,N/A,7
"""
CALLS = """Device_id,Level,API Name,Time(us),Count,Avg(us),Min(us),Max(us),Variance
host,acl,aclmdlExecuteAsync,900,9,100,50,200,3
host,runtime,KernelLaunch,2000,40,50,5,90,3
"""
TIMELINE = [
    {"name": "MEMCPY_ASYNC", "ph": "X", "ts": "1.0", "dur": us, "args": {"size(B)": size, "operation": way}}
    for us, size, way in (
        (50, 500_000, "host to device"),
        (50.0, 500_000, "host to device"),
        (10.0, 1000, "device to host"),
    )
] + [
    {"name": "conv", "ph": "X", "ts": "3.0", "dur": 10.0, "args": {"Task Type": "AI_CORE"}},
    {"name": "process_name", "ph": "M", "args": {"name": "Ascend Hardware"}},
]


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    folder = tmp_path / "PROF_000001_20261123101010123_ABCDEFGH"
    output = folder / "mindstudio_profiler_output"
    output.mkdir(parents=True)
    for name, text in {"task_time": TASKS, "op_summary": OPERATORS, "api_statistic": CALLS}.items():
        (output / f"{name}_20261123101011.csv").write_text(text)
    (output / "msprof_20261123101011.json").write_text(json.dumps(TIMELINE))
    return folder


def test_load_and_gaps_of_the_cores(profile: Path) -> None:
    first, second = summarise(read_exported(profile)).devices
    assert (first.device, first.whole_runs) == ("0", False)
    assert first.window_us == pytest.approx(410.5)
    # Tasks on cores of two kinds overlap and count once.
    assert first.busy_us == pytest.approx(300.5)
    assert first.load == pytest.approx(300.5 / 410.5)
    assert (first.gaps.count, first.gaps.total_us) == (2, pytest.approx(110))
    assert (first.gaps.median_us, first.gaps.longest_us) == (pytest.approx(10), pytest.approx(100))
    assert (second.window_us, second.load, second.gaps.count) == (0, 0, 0)


def test_counters_are_weighed_by_the_time_of_their_operators(profile: Path) -> None:
    assert summarise(read_exported(profile)).counters == {
        "aic_mac_ratio": pytest.approx(0.8),
        "aic_main_mem_read_bw(GB/s)": pytest.approx(35),
        "aiv_main_mem_write_bw(GB/s)": pytest.approx(7),
    }


def test_copies_operators_and_calls(profile: Path) -> None:
    summary = summarise(read_exported(profile))
    out, into = summary.copies
    assert (into.way, into.count, into.size_bytes) == ("host to device", 2, 1_000_000)
    assert into.gb_per_s == pytest.approx(10.0)
    assert (out.way, out.gb_per_s) == ("device to host", pytest.approx(0.1))
    assert [(one.name, one.count, one.us) for one in summary.operators] == [
        ("Conv2D", 2, 400.0),
        ("Relu", 1, 50.0),
    ]
    assert [(one.name, one.count) for one in summary.calls] == [
        ("KernelLaunch", 40),
        ("aclmdlExecuteAsync", 9),
    ]


def test_runs_of_whole_models_stand_for_tasks_of_cores_where_there_are_none(profile: Path) -> None:
    text = TASKS.replace("AI_CORE", "MODEL_EXECUTE").replace("KERNEL_AIVEC", "X").replace("MIX_AIC", "X")
    (profile / "mindstudio_profiler_output/task_time_20261123101011.csv").write_text(text)
    first = summarise(read_exported(profile)).devices[0]
    assert first.whole_runs
    assert first.busy_us == pytest.approx(200.5)


def test_the_last_export_counts(profile: Path) -> None:
    output = profile / "mindstudio_profiler_output"
    (output / "api_statistic_20271123101011.csv").write_text(CALLS.splitlines()[0] + "\n")
    assert summarise(read_exported(profile)).calls == ()


def test_raw_data_alone_is_told_with_the_command_that_exports_it(tmp_path: Path) -> None:
    (tmp_path / "PROF_1").mkdir()
    with pytest.raises(ConfigError, match="msprof --export=on"):
        read_exported(tmp_path / "PROF_1")


def test_a_timeline_that_is_no_json_is_told(profile: Path) -> None:
    (profile / "mindstudio_profiler_output/msprof_20261123101011.json").write_text("{")
    with pytest.raises(ConfigError, match=r"msprof_20261123101011\.json is no JSON"):
        read_exported(profile)


def test_profiles_are_found_below_a_folder(profile: Path) -> None:
    assert profiles_in(profile.parent) == profiles_in(profile) == [profile]


def test_the_verb_reads_a_folder(profile: Path) -> None:
    done = CliRunner().invoke(verb.command, ["--read", str(profile.parent)])
    assert done.exit_code == 0, done.output
    assert "device 0: AI cores: 73.2% of 0.4 ms; 2 gaps" in done.stdout
    assert "copies host to device: 2, 1.0 MB at 10.00 GB/s" in done.stdout
    told = json.loads(CliRunner().invoke(verb.command, ["--read", str(profile), "--json"]).stdout)
    assert [one["folder"] for one in told] == [str(profile)]
    assert told[0]["counters"]["aic_mac_ratio"] == pytest.approx(0.8)


MSPROF = """#!/bin/sh
out=${2#--output=}/mindstudio_profiler_output
mkdir -p $out
printf 'Device_id,Level,API Name,Time(us),Count\\nhost,acl,x,1,1\\n' > $out/api_statistic_1.csv
"""


@pytest.mark.parametrize("works", [True, False])
def test_raw_data_is_exported_where_msprof_is(
    works: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "PROF_1").mkdir()
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    silent = CliRunner().invoke(verb.command, ["--read", str(tmp_path)])
    assert "no msprof here" in silent.stderr
    program = tmp_path / "bin/msprof"
    program.write_text(MSPROF if works else "#!/bin/sh\necho 'cannot parse'\n")
    program.chmod(0o755)
    done = CliRunner().invoke(verb.command, ["--read", str(tmp_path)])
    assert done.exit_code == 0
    if works:
        assert "calls of the host" in done.stdout
    else:
        assert "made no tables: cannot parse" in done.stderr
