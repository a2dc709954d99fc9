"""The corpus of real files: what the other tests rely on."""

from __future__ import annotations

import zlib

import pytest

from tests import corpus as module
from tests.corpus import CorpusFile

META = (
    b"\x02\x00\x01\x00OB\x00\x00\x02\x00\x00\x00\x00\x01"  # long form: 2 bytes reserved
    b"\x02\x00\x10\x00UI\x12\x001.2.840.10008.1.2\x00"
)


def test_group_0002_is_read_without_its_group_length():
    data = bytes(128) + b"DICM" + META + b"\x08\x00\x05\x00CS\x00\x00"
    values, offset = module._file_meta(data)
    assert values[0x0010] == "1.2.840.10008.1.2"
    assert data[offset:] == b"\x08\x00\x05\x00CS\x00\x00"


@pytest.mark.parametrize("data", [b"", bytes(132), META])
def test_a_file_without_preamble_has_no_offset(data):
    assert module._file_meta(data) == ({}, 0)


def test_a_file_is_a_path(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"metadata set")
    with open(CorpusFile(path, "x")) as opened:  # noqa: PTH123  this is what is tested
        assert opened.read() == "metadata set"
    assert CorpusFile(path, "x", data_set_offset=4).data_set_bytes() == b"data set"


def test_a_download_that_fails_says_what_pip_said(tmp_path, monkeypatch):
    monkeypatch.setattr(
        module, "PACKAGES", (module.Package("pypx-no-such-thing==1", "no-such-thing.whl", ""),)
    )
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(module.CorpusError, match=r"no-such-thing.whl did not come; pip said: ."):
        module._download(tmp_path / "packages")
    assert list(tmp_path.iterdir()) == [tmp_path / "packages"]


def test_good_files_have_uids_of_their_own(corpus):
    uids = [file.sop_instance_uid for file in corpus.good]
    assert len(uids) == len(set(uids))


def test_dup_files_share_the_uid_of_a_good_one(corpus):
    good = {file.sop_instance_uid: file for file in corpus.good}
    for file in corpus.dup:
        assert file.path.read_bytes() != good[file.sop_instance_uid].path.read_bytes()


def test_nasty_files_say_why_and_the_others_have_no_reason(corpus):
    assert all(file.why for file in corpus.nasty)
    assert not any(file.why for file in (*corpus.good, *corpus.dup))


def test_the_offset_is_where_group_0008_begins(corpus):
    for file in (*corpus.good, *corpus.dup):
        start = file.data_set_bytes()
        if file.transfer_syntax_uid == module.DEFLATED:
            start = zlib.decompressobj(-zlib.MAX_WBITS).decompress(start)
        big_endian = file.transfer_syntax_uid == "1.2.840.10008.1.2.2"
        assert start[:2] == (b"\x00\x08" if big_endian else b"\x08\x00"), file.source


def test_it_is_varied_enough_to_be_worth_its_download(corpus):
    storable = [*corpus.good, *corpus.dup]
    assert len(corpus.good) > 150
    assert len({file.transfer_syntax_uid for file in corpus.good}) > 10
    assert len({file.sop_class_uid for file in corpus.good}) > 12
    assert len({file.charsets for file in storable}) > 10
