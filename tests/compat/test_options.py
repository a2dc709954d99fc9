"""What a dictionary of upstream asks for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pypx.compat.answers import Caller
from pypx.compat.following import Following, _pause
from pypx.compat.options import query_keys, read, then_arguments
from pypx.errors import ConfigError
from tests.cli.conftest import write_config

ONE, TWO = {"node": "A@h:1"}, {"db": "x;y"}


@pytest.mark.parametrize(
    ("text", "steps", "found"),
    [
        ("", 2, [{}, {}]),
        ('{"node": "A@h:1"}', 2, [ONE, ONE]),
        ('[{"node": "A@h:1"}, {"db": "x;y"}]', 3, [ONE, TWO, {}]),
        ('{"node": "A@h:1"};{"db": "x;y"}', 2, [ONE, TWO]),
        (';{"db": "x;y"}', 2, [{}, TWO]),
        (' {"node": "A@h:1"} ; ', 2, [ONE, {}]),
        ('{"db": "x;y"}', 1, [TWO]),
    ],
)
def test_arguments_of_steps(text: str, steps: int, found: list[Any]) -> None:
    assert then_arguments(text, steps) == found


def test_arguments_of_steps_that_are_no_text() -> None:
    assert then_arguments(ONE, 2) == [ONE, ONE]
    assert then_arguments(None, 1) == [{}]


@pytest.mark.parametrize("text", ["{", "1", '{"a": 1} {"b": 2}', "x;y", '"text"'])
def test_arguments_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError, match="--thenArgs"):
        then_arguments(text, 1)


@pytest.mark.parametrize(
    ("text", "images", "seconds"),
    [("", 5, 0), ("0", 5, 0), ("1.5", 5, 1.5), ("dynamic:6", 12, 2), ("dynamic:6", 0, 0)],
)
def test_the_delay(text: str, images: int, seconds: float) -> None:
    assert _pause(text)(images) == seconds


@pytest.mark.parametrize("text", ["-1", "x", "dynamic:", "dynamic:0", "1dynamic:2", "nan", "inf"])
def test_a_delay_that_is_none(text: str) -> None:
    with pytest.raises(ConfigError, match="intraSeriesRetrieveDelay"):
        _pause(text)


def test_an_empty_dictionary_has_upstreams_defaults() -> None:
    request = read("find", {})
    assert str(request.node().address) == "CHRIS-AEC@127.0.0.1:4242"
    assert request.calling == "CHRIS-AET"
    assert read("echo", None).args["serverPort"] == "4242"
    empty = dict.fromkeys(("aet", "aec", "serverIP", "serverPort"), "")
    assert read("find", empty).node() == request.node()


def test_the_port_stays_text() -> None:
    assert read("echo", {"serverPort": 104}).args["serverPort"] == "104"
    with pytest.raises(ConfigError, match="no number"):
        read("echo", {"serverPort": "x"}).node()


def test_json_goes_before_the_other_keys() -> None:
    text = '{"PatientID": "B", "StudyOnly": true, "json": false, "serverIP": "h"}'
    request = read("find", {"PatientID": "A", "json": True, "JSONargString": text})
    assert query_keys(request) == {"PatientID": "B"}
    assert (request.is_on("StudyOnly"), request.is_on("json")) == (True, False)
    assert request.node().address.host == "h"


@pytest.mark.parametrize("text", ["{", "[]", "1"])
def test_json_that_is_no_object(text: str) -> None:
    with pytest.raises(ConfigError, match="--JSONargs"):
        read("find", {"JSONargString": text})


def test_query_keys_are_keywords_with_a_value() -> None:
    given = {
        "PatientID": "$(touch x)",
        "StudyDate": "2024/01/31-2024/02/01",
        "PatientName": "",
        "Modality": None,
        "StudyInstanceUID": ["1.2", "1.3"],
        "PatientAge": "040Y",
        "json_response": True,
        "aet_listener": "X",
        "QueryRetrieveLevel": "STUDY",
    }
    assert query_keys(read("find", given)) == {
        "PatientID": "$(touch x)",
        "StudyDate": "20240131-20240201",
        "StudyInstanceUID": "1.2\\1.3",
        "PatientAge": "040Y",
    }


def test_a_keyword_that_is_misspelt_does_not_match_everything() -> None:
    with pytest.raises(ConfigError, match="PatientId") as raised:
        query_keys(read("find", {"PatientId": "1"}))
    assert "PatientID" in raised.value.hint


def test_a_named_pacs_stands_for_what_the_dictionary_leaves_out(home: Path) -> None:
    write_config(
        home,
        'aet = "RESEARCH"\n[nodes.hospital]\naddress = "ORTHANC@10.0.0.1:104"\nmodel = "patient"\n',
    )
    for opt in ({"PACS": "hospital"}, {"node": "hospital"}):
        node = read("find", {**opt, "serverPort": "105"}).node()
        assert str(node.address) == "ORTHANC@10.0.0.1:105"
        assert node.model == "patient"
        request = read("find", opt)
        assert (request.calling, request.destination) == ("RESEARCH", "RESEARCH")
        assert [request.args[key] for key in ("aec", "serverIP", "serverPort")] == [
            "ORTHANC",
            "10.0.0.1",
            "104",
        ]
        assert read("find", {**opt, "aet": "OTHER"}).calling == "OTHER"
    with pytest.raises(ConfigError, match="no node 'hospitl'"):
        read("find", {"node": "hospitl"})
    assert str(read("find", {"PACS": "orthanc"}).node().address) == "CHRIS-AEC@127.0.0.1:4242"
    same = {"aec": "OTHER", "serverIP": "10.0.0.1", "serverPort": "104"}
    assert (read("find", same).node().model, read("find", same).node().address.ae_title) == (
        "patient",
        "OTHER",
    )


def test_a_move_goes_to_the_listener_if_it_has_a_title_of_its_own() -> None:
    assert read("move", {"aet": "A"}).destination == "A"
    assert read("move", {"aet": "A", "aet_listener": "L"}).destination == "L"


def test_a_step_that_there_is_not() -> None:
    with pytest.raises(ConfigError, match="no step 'retreive'"):
        Following.of(read("find", {"then": "retreive"}), Caller())


def test_flags_of_1_x_are_a_step() -> None:
    opt = {"retrieve": True, "then": "report", "thenArgs": '{"a": 1}'}
    assert Following.of(read("find", opt), Caller()).steps == ["retrieve", "report"]
    assert Following.of(read("find", {"move": True}), Caller()).steps == ["retrieve"]
