"""Any bytes into what reads the network: hypothesis here, atheris with ``make fuzz``.

``corpus/`` has inputs that we made, those that once found something among them; each is named for
what it is.
"""

from __future__ import annotations

import gc
import tracemalloc
from pathlib import Path

import pytest
from fuzz.targets import REQUEST, TARGETS
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.hostile import echo_rq, p_data, pdv, store_rq
from tests.objects import data_set

CORPUS = sorted(path for path in (Path(__file__).parent / "corpus").rglob("*") if path.is_file())


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_corpus(path: Path) -> None:
    TARGETS[path.parent.name](path.read_bytes())


def mutated(*seeds: bytes) -> st.SearchStrategy[bytes]:
    """Give bytes of a good kind with some of them cut, doubled or replaced."""

    def mutate(draw: st.DrawFn) -> bytes:
        data = draw(st.sampled_from(seeds))
        for _ in range(draw(st.integers(0, 4))):
            start = draw(st.integers(0, len(data)))
            stop = draw(st.integers(start, min(len(data), start + 8)))
            data = data[:start] + draw(st.binary(max_size=8)) + data[stop:]
        return data

    return st.composite(mutate)()


ECHO = p_data(pdv(3, echo_rq()))
STREAMS = mutated(REQUEST + ECHO, REQUEST, ECHO)
COMMANDS = mutated(echo_rq(), store_rq())
DATA_SETS = mutated(data_set(1, PixelData=b"px"), data_set(1, syntax="1.2.840.10008.1.2"))
HOWS = st.binary(min_size=2, max_size=2)


@given(st.one_of(st.binary(max_size=200), STREAMS), st.binary(min_size=1, max_size=1))
def test_pdus(stream: bytes, split: bytes) -> None:
    TARGETS["pdu"](split + stream)


@given(st.one_of(st.binary(max_size=200), COMMANDS))
def test_command_sets(data: bytes) -> None:
    TARGETS["command"](data)


@given(HOWS, st.one_of(st.binary(max_size=200), DATA_SETS))
def test_data_sets(how: bytes, data: bytes) -> None:
    TARGETS["data_set"](how + data)


@settings(max_examples=60)
@example(b"\x00")
@given(
    st.one_of(
        STREAMS.map(lambda data: b"\0" + data),
        st.binary(max_size=200).map(lambda data: b"\1" + data),
        COMMANDS.map(lambda data: b"\2" + data),
        DATA_SETS.map(lambda data: b"\3\x091.2.3.4.1" + data),
        DATA_SETS.map(lambda data: b"\4" + data),
    )
)
def test_the_whole_acceptor(data: bytes) -> None:
    TARGETS["acceptor"](data)


def test_memory_stays_flat() -> None:
    """Of 300 associations that go wrong nothing stays."""
    inputs = [path.read_bytes() for path in CORPUS if path.parent.name == "acceptor"]
    broken = [b"\1" + bytes(100), b"\2garbage", b"\0GET / HTTP/1.1\r\n\r\n", *inputs]

    def run(times: int) -> int:
        for number in range(times):
            TARGETS["acceptor"](broken[number % len(broken)])
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        before = run(100)
        assert run(300) - before < 300 * 1024
    finally:
        tracemalloc.stop()
