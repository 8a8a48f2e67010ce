import pytest

from ascend_serve.runtime.slot import Slot, SlotState

pytestmark = pytest.mark.unit

LEGAL = {
    SlotState.FREE: {SlotState.PACKING},
    SlotState.PACKING: {SlotState.IN_FLIGHT, SlotState.FREE},
    SlotState.IN_FLIGHT: {SlotState.UNPACKING, SlotState.FREE},
    SlotState.UNPACKING: {SlotState.FREE},
}
WAYS = {
    SlotState.FREE: [],
    SlotState.PACKING: [SlotState.PACKING],
    SlotState.IN_FLIGHT: [SlotState.PACKING, SlotState.IN_FLIGHT],
    SlotState.UNPACKING: [SlotState.PACKING, SlotState.IN_FLIGHT, SlotState.UNPACKING],
}


def slot_in(state):
    slot = Slot(3, [{}], [{}])
    for step in WAYS[state]:
        slot.move(step)
    return slot


@pytest.mark.parametrize("start", SlotState)
@pytest.mark.parametrize("to", SlotState)
def test_only_legal_moves_are_made_and_others_change_nothing(start, to):
    slot = slot_in(start)
    if to in LEGAL[start]:
        slot.move(to)
        assert slot.state is to
    else:
        with pytest.raises(RuntimeError, match=f"slot 3 is {start.value} and cannot become {to.value}"):
            slot.move(to)
        assert slot.state is start


def test_a_slot_that_is_packed_cannot_be_taken_again():
    slot = Slot(0, {}, {})
    slot.begin()
    with pytest.raises(RuntimeError):
        slot.begin()
    slot.release()
    slot.begin()
