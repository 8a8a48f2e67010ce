"""What strict mode's rules rest on: clocks, blocks, stacks, the calls of `__del__`, and where findings are written."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from ascend_emulator.strict import stacks
from ascend_emulator.strict.__main__ import main
from ascend_emulator.strict.blocks import Block, Blocks, Memory
from ascend_emulator.strict.clocks import Clocks
from ascend_emulator.strict.findings import KINDS, Finding
from ascend_emulator.strict.report import Reader, Report
from ascend_emulator.strict.sanitizer import Sanitizer
from ascend_emulator.strict.table import MEANINGS
from hypothesis import given
from hypothesis import strategies as st

pytestmark = pytest.mark.unit

STREAMS, EVENTS = range(1, 4), range(101, 104)
STEPS = st.one_of(
    st.tuples(st.just("queue"), st.sampled_from(STREAMS), st.just(0)),
    st.tuples(st.sampled_from(("record", "wait")), st.sampled_from(STREAMS), st.sampled_from(EVENTS)),
    st.tuples(st.just("synchronise"), st.sampled_from(STREAMS), st.just(0)),
    st.tuples(st.just("synchronise event"), st.just(0), st.sampled_from(EVENTS)),
)


@given(st.lists(STEPS, max_size=40))
def test_clocks_say_what_the_graph_of_the_work_says(steps: list[tuple[str, int, int]]) -> None:
    """The reference keeps, for each stream and event, the whole set of work before it."""
    clocks = Clocks()
    before: dict[int, set[tuple[int, int]]] = {place: set() for place in (*STREAMS, *EVENTS)}
    known: set[tuple[int, int]] = set()
    work: set[tuple[int, int]] = set()
    for step, stream, event in steps:
        if step == "queue":
            task = stream, clocks.queue(stream)
            work.add(task)
            before[stream].add(task)
        elif step == "record":
            clocks.record(event, stream)
            before[event] = set(before[stream])
        elif step == "wait":
            clocks.wait(stream, event)
            before[stream] |= before[event]
        elif step == "synchronise":
            clocks.learn(clocks.at([stream]))
            known |= before[stream]
        else:
            clocks.learn(clocks.at_events([event]))
            known |= before[event]
        for task in work:
            assert clocks.is_known(*task) == (task in known)
            for on in STREAMS:
                assert clocks.is_before(*task, on) == (task in known or task in before[on])


@given(st.lists(st.tuples(st.integers(0, 63), st.integers(1, 12), st.booleans()), max_size=40))
def test_blocks_are_found_by_every_address_in_them(steps: list[tuple[int, int, bool]]) -> None:
    """The reference is a map of every single byte."""
    blocks, live, freed = Blocks(), {}, {}  # type: ignore[var-annotated] - address -> block, twice
    for start, size, frees in steps:
        found = blocks.at(start)
        if frees and found is not None:
            blocks.free(found, ())
            for address in range(found.start, found.end):
                freed[address] = live.pop(address)
        elif not frees:
            block = Block(start, size, Memory.DEVICE, "acl.rt.free", 0, ())
            blocks.add(block)
            for book in (live, freed):
                for former in {book[address] for address in range(start, start + size) if address in book}:
                    for address in range(former.start, former.end):
                        book.pop(address, None)
            live.update(dict.fromkeys(range(start, start + size), block))
        for address in range(80):
            assert blocks.around(address) is live.get(address)
            assert blocks.freed_around(address) is freed.get(address)
    assert {id(block) for block in blocks.live()} == {id(block) for block in live.values()}


def test_a_stack_begins_in_the_program_and_knows_its_lines() -> None:
    stack = stacks.shown(stacks.capture())
    assert stack[0]["file"] == __file__
    assert stack[0]["function"] == "test_a_stack_begins_in_the_program_and_knows_its_lines"
    line = Path(__file__).read_text().splitlines()[stack[0]["line"] - 1]
    assert "stacks.capture()" in line
    assert len(stack) <= stacks.DEPTH


def test_every_name_is_one_of_acls_modules() -> None:
    rooms = {name.rpartition(".")[0] for name in MEANINGS}
    assert rooms <= {"acl", "acl.rt", "acl.mdl", "acl.util", "acl.media", "acl.himpi", "acl.prof", "acl.op"}


class Quiet:
    """An `Insight` of a process that has nothing open."""

    def device(self) -> int:
        return 0

    def default_stream(self) -> int:
        return 0

    def open_devices(self) -> frozenset[int]:
        return frozenset()

    set_devices = open_devices

    def is_board(self) -> bool:
        return False

    def is_of_card(self, address: int) -> bool:
        return True

    def is_alive(self, device: int) -> bool:
        return False

    def free_bytes(self) -> int:
        return 0

    def bytes_at(self, address: int) -> int:
        return 0

    def buffers(self, dataset: int) -> list[tuple[int, int]]:
        return []

    def gear_buffer(self, dataset: int, index: int) -> None:
        return None


class Function:
    """A function of `acl` that always gives the same."""

    def __init__(self, path: str, result: Any) -> None:
        self.path = path
        self.result = result

    def run(self, arguments: tuple[Any, ...]) -> Any:
        return self.result

    def code_of(self, result: Any) -> Any:
        return result[-1] if isinstance(result, tuple) else result


def test_a_call_from_inside_the_bookkeeping_is_made_and_noted() -> None:
    """As a `__del__` that runs while a finding is reported: it is not judged, for the books are open."""
    findings: list[Finding] = []

    def call(path: str, *arguments: Any, gives: Any = 0) -> Any:
        function: Any = Function(path, gives)
        return sanitizer.around(function, function.run, arguments)

    def report(finding: Finding) -> None:
        findings.append(finding)
        if len(findings) == 1:
            assert call("acl.rt.free", 0x8000) == 0
            assert call("acl.rt.free", 0x8000, gives=100000) == 100000

    sanitizer = Sanitizer(Quiet(), report)
    call("acl.rt.malloc", 64, 0, gives=(0x4000, 0))
    call("acl.rt.malloc", 64, 0, gives=(0x8000, 0))
    call("acl.rt.memset", 0x4000, 65, 0, 65)
    assert [finding.kind for finding in findings] == ["out-of-bounds"]
    call("acl.rt.memset", 0x8000, 8, 0, 8)
    assert [finding.kind for finding in findings[1:]] == ["use-after-free"]
    freed = dict(findings[1].origins)["freed"]
    assert any(code.co_name == "report" for code, _ in freed)


def finding(kind: str = "double-free", address: int = 64) -> Finding:
    return Finding(kind, "what happened", "acl.rt.free", "MainThread", stacks.capture(), (), address, 8)


def test_findings_are_written_when_they_are_made_and_read_once(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "there" / "yet"
    reader = Reader(folder)
    assert reader.new() == []
    report = Report(folder)
    report.add(finding())
    first = reader.new()
    assert [record["kind"] for record in first] == ["double-free"]
    assert first[0]["way_out"] == KINDS["double-free"]
    assert first[0]["stack"][0]["file"] == __file__
    report.add(finding("leak"))
    with next(folder.glob("*.jsonl")).open("a") as file:
        file.write('{"kind": "half a li')
    assert [record["kind"] for record in reader.new()] == ["leak"]
    assert reader.new() == []
    text = StringIO()
    report.write_exit_summary(text)
    assert text.getvalue() == ""


def test_the_same_misuse_at_the_same_place_is_told_once(tmp_path: Path) -> None:
    report = Report(tmp_path)
    for address in range(5):
        report.add(finding(address=address))
    assert len(Reader(tmp_path).new()) == 1


def test_without_a_folder_there_is_a_text_at_exit() -> None:
    report, text = Report(None), StringIO()
    report.add(finding())
    report.add(finding("leak"))
    report.write_exit_summary(text)
    assert text.getvalue().startswith("ascend-emulator strict mode: 2 findings (1 double-free, 1 leak)\n")
    assert f"{__file__}:" in text.getvalue()
    assert KINDS["leak"] in text.getvalue()


def test_a_folder_that_cannot_be_written_loses_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    report, text = Report(tmp_path / "file"), StringIO()
    report.add(finding())
    assert "cannot be written" in capsys.readouterr().err
    report.write_exit_summary(text)
    assert "1 double-free" in text.getvalue()


def test_the_command_prints_and_merges(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "ascend-emulator strict mode: 0 findings\n"
    Report(tmp_path).add(finding())
    (tmp_path / "1.jsonl").write_text(json.dumps(finding("leak").record(1, "")) + "\n")
    assert main(["report", str(tmp_path), "--json"]) == 1
    assert sorted(record["kind"] for record in json.loads(capsys.readouterr().out)) == ["double-free", "leak"]
    assert main(["report", str(tmp_path)]) == 1
    assert "what happened" in capsys.readouterr().out


def test_the_command_wants_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["report", str(tmp_path / "none")])
    assert "ASCEND_EMULATOR_STRICT_REPORT" in capsys.readouterr().err
