"""What sessions measure, and the slots that follow, on an emulated card with modelled times of its own."""

import json
import os
import subprocess
import sys

import pytest

from ascend_serve.runtime.session import Session
from ascend_serve.runtime.signature import describe
from ascend_serve.spec.timing import Stages, Timing
from tests.contract import sessions
from tests.contract.sessions import TWO_SIDED, needs_emulator

pytestmark = pytest.mark.contract

build, device = sessions.build, sessions.device  # fixtures, by the names that tests ask for them

SCRIPT = """
import csv, json, sys, tempfile
from pathlib import Path
import acl
from ascend_serve.runtime.device import Device
from ascend_serve.runtime.session import Session
from ascend_serve.runtime.signature import describe
from ascend_serve.spec.timing import Stages, Timing

path, slots, batches = Path(sys.argv[1]), json.loads(sys.argv[2]), int(sys.argv[3])
known = {(0, int(gear)): Timing(Stages(*stages), 0.0, 7) for gear, stages in json.loads(sys.argv[4]).items()}
device = Device.open()
session = Session.open(device, path, describe(device, path, "m"), slots=slots, known=known)
times = session.warm_up()
stages = []
with tempfile.TemporaryDirectory() as folder:
    acl.prof.init(folder)
    config = acl.prof.create_config([device.ordinal], 0, 0, 3)
    acl.prof.start(config)
    flight = []
    for number in range(batches):
        slot = session.slots[number % len(session.slots)]
        if slot.state.value != "free":
            stages.append(session.wait(slot))
            slot.release()
        slot.begin()
        session.enqueue(slot, 0, 8)
    for number in range(batches, batches + len(session.slots)):
        slot = session.slots[number % len(session.slots)]
        if slot.state.value != "free":
            stages.append(session.wait(slot))
            slot.release()
    acl.prof.stop(config)
    acl.prof.destroy_config(config)
    acl.prof.finalize()
    (table,) = Path(folder).rglob("task_time*.csv")
    with table.open(newline="") as file:
        tasks = [(row["kernel_type"], float(row["task_start(us)"]), float(row["task_stop(us)"]), row["stream_id"])
                 for row in csv.DictReader(file)]
slots = len(session.slots)
session.close()
device.close()
print(json.dumps({"slots": slots, "times": {gear: [*t.stages, t.spread_ms, t.runs] for (_, gear), t in times.items()},
                  "tasks": tasks, "stages": stages}))
"""


def measured(om, slots, batches, tmp_path, *, copy_us, compute_ms, known=None, **settings):
    times = tmp_path / "times.json"
    # Two tensors each way, so a copy stage takes twice `copy_us`.
    link = {"gb_per_s": 12, "fixed_us": copy_us}
    times.write_text(json.dumps({"models": {"two_sided": {"8": compute_ms}}, "h2d": link, "d2h": link}))
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(om), json.dumps(slots), str(batches), json.dumps(known or {})],
        env={
            **os.environ,
            "ASCEND_EMULATOR_NODE": f"runtime-timing-{os.getpid()}",
            "ASCEND_EMULATOR_TIMING": "modelled",
            "ASCEND_EMULATOR_TIMES": str(times),
            **settings,
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def measured_until(holds, *arguments, **settings):
    """What is measured, the first time that it is as it should be; a busy machine keeps the host from its times."""
    for _ in range(5):
        found = measured(*arguments, **settings)
        if holds(found):
            break
    return found


def overlaps(tasks):
    """Executions during which some copy was under way, by the card's own clock."""
    runs = [task for task in tasks if task[0] == "MODEL_EXECUTE"]
    copies = [task for task in tasks if task[0] == "MEMCPY_ASYNC"]
    return len(runs), sum(any(c[1] < run[2] and run[1] < c[2] for c in copies) for run in runs)


@needs_emulator
def test_with_one_slot_stages_follow_each_other_and_with_enough_they_overlap(device, build, tmp_path):
    om = build(TWO_SIDED, device.soc_name)
    serial = measured(om, 1, 8, tmp_path, copy_us=5000, compute_ms=10.0)
    assert overlaps(serial["tasks"]) == (8, 0)
    chosen = measured_until(
        lambda told: overlaps(told["tasks"]) == (8, 8), om, None, 8, tmp_path, copy_us=5000, compute_ms=10.0
    )
    assert chosen["slots"] in (3, 4)  # three equal stages, and whatever the host takes to pack
    assert overlaps(chosen["tasks"]) == (8, 8)


@needs_emulator
def test_warm_up_measures_each_stage_by_itself(device, build, tmp_path):
    om = build(TWO_SIDED, device.soc_name)
    told = measured_until(
        lambda told: told["times"]["8"][:3] == pytest.approx([2.0, 20.0, 2.0], rel=0.02),
        om, None, 12, tmp_path, copy_us=1000, compute_ms=20.0,
    )  # fmt: skip
    assert told["slots"] == 2
    copy_in, compute, copy_out, spread, runs = told["times"]["8"]
    assert compute == pytest.approx(20.0, rel=0.02)
    assert copy_in == pytest.approx(2.0, rel=0.05)
    assert copy_out == pytest.approx(2.0, rel=0.05)
    assert 0 <= spread < 2.0
    assert runs == 7
    timed = [stages for stages in told["stages"] if stages is not None]
    assert len(told["stages"]) == 12
    assert len(timed) == 5  # the first four and the ninth
    assert min(compute for _, compute, _ in timed) == pytest.approx(20.0, rel=0.02)


@needs_emulator
def test_known_times_are_kept_where_they_hold_and_measured_anew_where_not(device, build, tmp_path):
    om = build(TWO_SIDED, device.soc_name)
    at_eight = [2.0, 21.0, 2.0]
    told = measured(
        om, 2, 2, tmp_path, copy_us=1000, compute_ms=20.0, known={"8": at_eight, "1": [2.0, 90.0, 2.0]}
    )
    assert told["times"]["8"] == [*at_eight, 0.0, 7]
    assert told["times"]["1"][1] == pytest.approx(20.0, rel=0.02)


def test_known_times_of_other_gears_do_no_harm(device, build):
    path = build(TWO_SIDED, device.soc_name)
    known = {(3, 99): Timing(Stages(1.0, 1.0, 1.0), 0.0, 1)}
    session = Session.open(device, path, describe(device, path, "m"), slots=1, known=known)
    assert list(session.warm_up()) == [(0, 1), (0, 2), (0, 4), (0, 8)]
    session.close()


def test_slots_that_are_chosen_are_warm_and_free(device, build):
    path = build(TWO_SIDED, device.soc_name)
    session = Session.open(device, path, describe(device, path, "m"), slots=None)
    session.warm_up()
    assert 2 <= len(session.slots) <= 4
    assert [slot.index for slot in session.slots] == list(range(len(session.slots)))
    assert {slot.state.value for slot in session.slots} == {"free"}
    session.close()
    assert device.live == {"context": 1}


def test_no_more_slots_are_made_than_fit_the_memory(device, build, monkeypatch):
    path = build(TWO_SIDED, device.soc_name)
    session = Session.open(device, path, describe(device, path, "m"), slots=None)
    monkeypatch.setattr(session, "_slots_for", lambda times: 4)
    monkeypatch.setattr(session, "_slots_that_fit", lambda: 1)
    session.warm_up()
    assert len(session.slots) == 3
    session.close()
