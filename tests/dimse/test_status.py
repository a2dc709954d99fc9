"""Status codes: their category and their sentence (PS3.7 Annex C, PS3.4)."""

from __future__ import annotations

import pytest

from pypx.dimse.status import Category, category, hint, sentence

CATEGORIES = [
    (0x0000, Category.SUCCESS),
    (0xFF00, Category.PENDING),
    (0xFF01, Category.PENDING),
    (0xFE00, Category.CANCEL),
    (0x0001, Category.WARNING),
    (0x0107, Category.WARNING),
    (0x0116, Category.WARNING),
    (0xB000, Category.WARNING),
    (0xB007, Category.WARNING),
    (0xB001, Category.WARNING),
    (0x0110, Category.FAILURE),
    (0x0122, Category.FAILURE),
    (0x0213, Category.FAILURE),
    (0xA700, Category.FAILURE),
    (0xA801, Category.FAILURE),
    (0xA900, Category.FAILURE),
    (0xC000, Category.FAILURE),
    (0xCFFF, Category.FAILURE),
    (0x4242, Category.FAILURE),  # no table has it
    (0xFF02, Category.FAILURE),
]


@pytest.mark.parametrize(("status", "expected"), CATEGORIES)
def test_each_status_has_one_category(status: int, expected: Category) -> None:
    assert category(status) is expected


SENTENCES = [
    (0xA700, "C-FIND", "out of resources: the PACS stopped the query"),
    (0xA700, "C-STORE", "out of resources: the receiver has no room for the object"),
    (0xA7FE, "C-STORE", "out of resources"),
    (0xA801, "C-MOVE", "the PACS does not know the move destination"),
    (0xC123, "C-FIND", "the peer is unable to process the request"),
    (0x0122, "C-ECHO", "SOP class not supported"),
    (0x4242, "C-GET", "a failure that the standard does not name"),
]


@pytest.mark.parametrize(("status", "service", "words"), SENTENCES)
def test_a_status_is_said_in_words(status: int, service: str, words: str) -> None:
    assert sentence(status, service) == words


def test_every_status_has_words_and_a_text_as_hint() -> None:
    for status in range(0x10000):
        assert sentence(status, "C-MOVE")
        assert isinstance(hint(status), str)
    assert "destination" in hint(0xA801)
