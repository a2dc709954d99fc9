"""Names in all character sets from a peer that sends them as the standard says."""

from __future__ import annotations

import pytest

from pypx.client.client import Client
from pypx.dicom.data_set import DataSet
from pypx.dicom.elements import encoding_of
from pypx.dimse.messages import CFindRSP
from tests.corpus import Corpus
from tests.names import NAMES
from tests.scripted import Exchange, Scripted


@pytest.mark.parametrize(("file_name", "name"), NAMES.items())
def test_a_match_is_shown_as_it_is_written(corpus: Corpus, file_name: str, name: str) -> None:
    file = next(one for one in corpus.good if one.source.endswith("/" + file_name))
    whole = DataSet.from_bytes(file.data_set_bytes(), encoding_of(file.transfer_syntax_uid))
    wanted = (0x00080005, 0x00100010)  # Specific Character Set and Patient's Name, as stored
    part = DataSet([e for e in whole.elements if e.tag in wanted], whole.encoding)

    def as_stored(exchange: Exchange) -> None:
        response = CFindRSP(exchange.request.message_id, 0xFF00, has_data_set=True)
        exchange.send(response, part.to_bytes(exchange.encoding))
        exchange.end_find()

    with Scripted(find=as_stored) as scripted, Client(scripted.address) as client:
        (match,) = client.find({"PatientName": ""})
    assert match["PatientName"] == name
    assert match.warnings == ()
