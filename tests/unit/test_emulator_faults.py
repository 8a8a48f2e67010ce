"""Faults on demand: the grammar, which operations a rule hits, and what a card is afterwards."""

import pytest
from ascend_emulator.card.faults import Faults, Hang
from ascend_emulator.codes import Failure
from ascend_emulator.fault_rules import OPERATIONS, Effect, Rule, parse_faults
from hypothesis import given
from hypothesis import strategies as st

pytestmark = pytest.mark.unit

EFFECTS = {
    operation: [Effect.FAIL, Effect.HANG, Effect.LOST, Effect.ECC]
    if operation in ("copy", "execute")
    else [Effect.FAIL]
    for operation in OPERATIONS
}


@st.composite
def operation_rules(draw: st.DrawFn) -> Rule:
    operation = draw(st.sampled_from(sorted(OPERATIONS)))
    effect = draw(st.sampled_from(EFFECTS[operation]))
    return Rule(
        operation=operation,
        effect=effect,
        code=draw(st.integers(100_000, 999_999)) if effect is Effect.FAIL else 0,
        nth=draw(st.integers(1, 50)),
        every=draw(st.integers(1, 10)),
        times=draw(st.none() | st.integers(1, 10)),
        device=draw(st.none() | st.integers(0, 63)),
    )


state_rules = st.builds(
    lambda effect, factor, device: Rule(
        "", effect, factor=factor if effect is Effect.SLOW else 1.0, device=device
    ),
    st.sampled_from([Effect.LOST, Effect.ECC, Effect.SLOW]),
    st.floats(1, 1e6),
    st.none() | st.integers(0, 63),
)


def card(text: str = "", number: int = 0) -> Faults:
    faults = Faults(number, lambda: None)
    faults.add(text)
    return faults


def outcome(faults: Faults, operation: str) -> int | str:
    try:
        faults.meet(operation)
    except Failure as failure:
        return failure.code
    except Hang:
        return "hang"
    return 0


@given(st.lists(operation_rules() | state_rules, max_size=5))
def test_what_is_written_is_read_back(rules: list[Rule]) -> None:
    assert parse_faults(";".join(map(str, rules))) == tuple(rules)


@given(operation_rules(), st.integers(1, 200))
def test_a_rule_hits_what_its_options_say(rule: Rule, count: int) -> None:
    chosen = list(range(rule.nth, 201, rule.every))[: rule.times]
    assert rule.hits(count) == (count in chosen)
    if rule.spent(count):
        assert not any(rule.hits(later) for later in range(count + 1, 201))


@given(st.text(alphabet="malcoexutehnthgsdv:=,; .0123456789", max_size=40))
def test_any_other_text_is_refused_with_a_reason(text: str) -> None:
    try:
        rules = parse_faults(text)
    except ValueError as error:
        reason = str(error)
    else:
        reason = ""
        assert parse_faults(";".join(map(str, rules))) == rules
    assert (
        not reason
        or " must " in reason
        or "means nothing" in reason
        or " is for " in reason
        or " takes no " in reason
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("memcpy", "must start with one of malloc"),
        ("malloc:nth=0", "nth must be a whole number from 1"),
        ("malloc:nth=x", "nth must be"),
        ("malloc:", "list each option once"),
        ("malloc:nth=1,nth=2", "list each option once"),
        ("malloc:hang", "hang is for copy and execute only"),
        ("malloc:speed=3", "speed, which means nothing for malloc"),
        ("execute:code=5", "code must be a whole number from 100000"),
        ("execute:hang,lost", "must have one effect"),
        ("execute:hang=1", "hang takes no value"),
        ("execute:hang,code=507015", "must have one effect"),
        ("lost:nth=3", "nth, which means nothing for lost"),
        ("slow", "factor must be"),
        ("slow:factor=0.5", "factor must be"),
        ("slow:factor=nan", "factor must be"),
        ("execute:device=-1", "device must be"),
    ],
)
def test_a_wrong_rule_is_named_with_its_reason(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_faults(text)


@pytest.mark.parametrize(
    ("text", "operation", "outcomes"),
    [
        ("malloc:nth=3", "malloc", [0, 0, 207001, 0]),
        ("malloc_host", "malloc_host", [207001, 0]),
        ("load:code=545601", "load", [545601, 0]),
        ("execute:every=2", "execute", [507015, 0, 507015, 0, 507015]),
        ("execute:nth=2,times=2", "execute", [0, 507015, 507015, 0]),
        ("copy:nth=2,hang", "copy", [0, "hang", 0]),
        ("copy:code=507013;copy:nth=2,code=507015;copy:nth=1,code=507052", "copy", [507013, 507015, 0]),
        ("ecc", "execute", [507054, 507054]),
        ("ecc", "malloc", [0, 0]),
        ("execute:nth=2,ecc", "execute", [0, 507054, 507054]),
        ("execute:nth=2,lost", "execute", [0, 507010, 507010]),
        ("execute:device=1", "execute", [0, 0]),
        ("execute:device=7", "execute", [507015, 0]),
        ("", "execute", [0, 0]),
    ],
)
def test_operations_end_as_the_rules_say(text: str, operation: str, outcomes: list[int | str]) -> None:
    faults = card(text, number=7)
    assert [outcome(faults, operation) for _ in outcomes] == outcomes


def test_a_rule_that_is_used_up_is_gone_and_another_operation_does_not_count() -> None:
    faults = card("malloc:nth=2;execute:every=3")
    assert outcome(faults, "copy") == outcome(faults, "malloc") == 0
    assert outcome(faults, "malloc") == 207001
    assert faults.rules() == ["execute:nth=1,every=3,code=507015"]


def test_states_are_entered_and_left_and_told() -> None:
    told: list[tuple[bool, bool, float]] = []
    faults = Faults(0, lambda: told.append((faults.lost, faults.ecc, faults.slowdown)))
    faults.add("lost;ecc;slow:factor=2.5")
    faults.clear()
    faults.restore()
    assert told == [(True, True, 2.5), (True, True, 1.0), (False, False, 1.0)]
    assert outcome(faults, "execute") == 0


def test_an_operation_that_loses_the_card_tells_it_at_once() -> None:
    told: list[bool] = []
    faults = Faults(0, lambda: told.append(faults.lost))
    faults.add("copy:lost")
    assert outcome(faults, "copy") == 507010
    assert told == [False, True]


def test_the_failure_names_its_rule() -> None:
    with pytest.raises(Failure) as caught:
        card("execute:nth=1").meet("execute")
    assert "execute:nth=1" in caught.value.text


def test_a_wrong_text_leaves_the_card_as_it_was() -> None:
    faults = card()
    with pytest.raises(Failure) as caught:
        faults.add("lost;nonsense")
    assert caught.value.code == 507033
    assert not faults.lost
