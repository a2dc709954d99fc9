from __future__ import annotations

from collections import Counter

from pypx.ul.states import TABLE, Action, Event, State

# PS3.8 Table 9-10 in the layout of the standard, Sta8 to Sta13 below: an event a row, a state
# a column, and in a cell the action with the number of the next state. A dot is a blank cell.
GRID = """
       Sta1    Sta2       Sta3     Sta4    Sta5     Sta6     Sta7
Evt1   AE-1/4  .          .        .       .        .        .
Evt2   .       .          .        AE-2/5  .        .        .
Evt3   .       AA-1/13    AA-8/13  .       AE-3/6   AA-8/13  AA-8/13
Evt4   .       AA-1/13    AA-8/13  .       AE-4/1   AA-8/13  AA-8/13
Evt5   AE-5/2  .          .        .       .        .        .
Evt6   .       AE-6/3/13  AA-8/13  .       AA-8/13  AA-8/13  AA-8/13
Evt7   .       .          AE-7/6   .       .        .        .
Evt8   .       .          AE-8/13  .       .        .        .
Evt9   .       .          .        .       .        DT-1/6   .
Evt10  .       AA-1/13    AA-8/13  .       AA-8/13  DT-2/6   AR-6/7
Evt11  .       .          .        .       .        AR-1/7   .
Evt12  .       AA-1/13    AA-8/13  .       AA-8/13  AR-2/8   AR-8/9/10
Evt13  .       AA-1/13    AA-8/13  .       AA-8/13  AA-8/13  AR-3/1
Evt14  .       .          .        .       .        .        .
Evt15  .       .          AA-1/13  AA-2/1  AA-1/13  AA-1/13  AA-1/13
Evt16  .       AA-2/1     AA-3/1   .       AA-3/1   AA-3/1   AA-3/1
Evt17  .       AA-5/1     AA-4/1   AA-4/1  AA-4/1   AA-4/1   AA-4/1
Evt18  .       AA-2/1     .        .       .        .        .
Evt19  .       AA-1/13    AA-8/13  .       AA-8/13  AA-8/13  AA-8/13

       Sta8     Sta9     Sta10     Sta11    Sta12    Sta13
Evt1   .        .        .         .        .        .
Evt2   .        .        .         .        .        .
Evt3   AA-8/13  AA-8/13  AA-8/13   AA-8/13  AA-8/13  AA-6/13
Evt4   AA-8/13  AA-8/13  AA-8/13   AA-8/13  AA-8/13  AA-6/13
Evt5   .        .        .         .        .        .
Evt6   AA-8/13  AA-8/13  AA-8/13   AA-8/13  AA-8/13  AA-7/13
Evt7   .        .        .         .        .        .
Evt8   .        .        .         .        .        .
Evt9   AR-7/8   .        .         .        .        .
Evt10  AA-8/13  AA-8/13  AA-8/13   AA-8/13  AA-8/13  AA-6/13
Evt11  .        .        .         .        .        .
Evt12  AA-8/13  AA-8/13  AA-8/13   AA-8/13  AA-8/13  AA-6/13
Evt13  AA-8/13  AA-8/13  AR-10/12  AR-3/1   AA-8/13  AA-6/13
Evt14  AR-4/13  AR-9/11  .         .        AR-4/13  .
Evt15  AA-1/13  AA-1/13  AA-1/13   AA-1/13  AA-1/13  .
Evt16  AA-3/1   AA-3/1   AA-3/1    AA-3/1   AA-3/1   AA-2/1
Evt17  AA-4/1   AA-4/1   AA-4/1    AA-4/1   AA-4/1   AR-5/1
Evt18  .        .        .         .        .        AA-2/1
Evt19  AA-8/13  AA-8/13  AA-8/13   AA-8/13  AA-8/13  AA-7/13
"""


def transcribed() -> dict[tuple[str, str], tuple[str, tuple[str, ...]]]:
    table = {}
    for block in GRID.split("\n\n"):
        head, *rows = (line.split() for line in block.strip().splitlines())
        assert len(rows) == 19
        for event, *cells in rows:
            for state, cell in zip(head, cells, strict=True):
                if cell != ".":
                    action, *next_states = cell.split("/")
                    table[event, state] = (action, tuple(f"Sta{n}" for n in next_states))
    return table


def test_table_9_10() -> None:
    ours = {
        (event.name, state.name): (
            action.name.replace("_", "-"),
            tuple(next_state.name for next_state in next_states),
        )
        for (event, state), (action, next_states) in TABLE.items()
    }
    assert ours == transcribed()


def test_the_numbers_of_states_events_and_actions() -> None:
    assert [state.name for state in State] == [f"Sta{n}" for n in range(1, 14)]
    assert [event.name for event in Event] == [f"Evt{n}" for n in range(1, 20)]
    families = Counter(action.name[:2] for action in Action)
    assert families == {"AE": 8, "DT": 2, "AR": 10, "AA": 8}
    assert {action for action, _ in TABLE.values()} == set(Action)


def test_every_pdu_has_a_cell_in_every_state_with_a_transport_connection() -> None:
    pdu_events = [Event[f"Evt{n}"] for n in (3, 4, 6, 10, 12, 13, 16, 19)]
    for event in pdu_events:
        for state in State:
            connected = state not in (State.Sta1, State.Sta4)
            assert ((event, state) in TABLE) == connected
