from __future__ import annotations

import pytest

from pypx.ul.pdu import AReleaseRP, AReleaseRQ, abort_sentence, reject_sentence

# Table 9-21: source, reason, and what a data manager has to find in the sentence.
REJECTIONS = [
    (1, 1, "no reason"),
    (1, 2, "application context"),
    (1, 3, "calling AE title"),
    (1, 7, "called AE title"),
    (2, 1, "no reason"),
    (2, 2, "version"),
    (3, 1, "overloaded"),
    (3, 2, "as many associations as it allows"),
]
RESULTS = [(1, "permanent"), (2, "transient")]

# Table 9-26
ABORTS = [
    (0, 0, "application"),
    (0, 6, "application"),
    (2, 0, "no reason"),
    (2, 1, "does not know"),
    (2, 2, "did not expect"),
    (2, 4, "parameter that it does not know"),
    (2, 5, "parameter that it did not expect"),
    (2, 6, "not valid"),
]


@pytest.mark.parametrize(("result", "result_words"), RESULTS)
@pytest.mark.parametrize(("source", "reason", "words"), REJECTIONS)
def test_reject_sentence(result, result_words, source, reason, words) -> None:
    sentence = reject_sentence(result, source, reason)
    assert words in sentence
    assert result_words in sentence
    assert sentence.endswith(".")


def test_each_rejection_has_a_sentence_of_its_own() -> None:
    sentences = {reject_sentence(r, s, c) for r, _ in RESULTS for s, c, _ in REJECTIONS}
    assert len(sentences) == 16


@pytest.mark.parametrize(("source", "reason", "words"), ABORTS)
def test_abort_sentence(source, reason, words) -> None:
    sentence = abort_sentence(source, reason)
    assert words in sentence
    assert sentence.endswith(".")


def test_codes_that_no_table_has_are_told_as_numbers() -> None:
    known = {(source, reason) for source, reason, _ in REJECTIONS}
    for source in range(12):
        for reason in range(12):
            sentence = reject_sentence(9, source, reason)
            assert "result 9" in sentence
            if (source, reason) not in known:
                assert f"source {source}, reason {reason}" in sentence
            if source not in (0, 2) or (source == 2 and reason not in (0, 1, 2, 4, 5, 6)):
                assert f"source {source}, reason {reason}" in abort_sentence(source, reason)


def test_pdus_without_fields_are_values() -> None:
    assert AReleaseRQ() == AReleaseRQ()
    assert AReleaseRQ() != AReleaseRP()
    assert len({AReleaseRQ(), AReleaseRQ(), AReleaseRP()}) == 2
    assert repr(AReleaseRP()) == "AReleaseRP()"
