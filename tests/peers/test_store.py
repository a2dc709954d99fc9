"""``px store`` to real DCMTK and Orthanc: what they hold afterwards is what was sent."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys

import pydicom
import pytest

from pypx.dicom.part10 import decode_preamble_and_meta


@pytest.fixture
def px_store(tmp_path, engine):
    """Run px store in a process of its own; give exit code and document."""
    return functools.partial(run, tmp_path, engine)


def run(tmp_path, engine, peer, *arguments):
    config = tmp_path / "config.toml"
    config.write_text(f'engine = "{engine}"\n')
    done = subprocess.run(
        [sys.executable, "-m", "pypx", "store", peer.address, *map(str, arguments), "--json"],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "PYPX_CONFIG": str(config)},
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, json.loads(done.stdout)


# DCMTK's tools find no SOP class in elements of VR UN.
UNREADABLE = ("explicit_VR-UN.dcm", "rtdose_rle.dcm")


def unique(files):
    """Give the files, each SOP Instance UID once."""
    return list({file.sop_instance_uid: file for file in files}.values())


def data_set(path):
    data = path.read_bytes()
    return data[decode_preamble_and_meta(data)[1] :]


@pytest.mark.parametrize("associations", [1, 3])
def test_storescp_has_every_byte(px_store, engine, storescp, corpus, associations):
    """DCMTK's storescu encodes the data sets anew, so that only the values are the same."""
    peer = storescp(flags=["--fork"] if associations > 1 else [])
    files = unique(corpus.good)
    code, document = px_store(peer, *(file.path for file in files), "--associations", associations)
    refused = set(document["failed_sop_instance_uids"])
    assert code == (1 if refused else 0)
    assert document["completed"] + document["warning"] + document["failed"] == len(files)
    sent = {
        file.sop_instance_uid.strip(): file.sent_bytes()
        for file in files
        if file.sop_instance_uid not in refused
    }
    assert len(sent) > len(files) * 0.8
    if engine == "dcmtk":
        assert {file.path.name for file in files if file.sop_instance_uid in refused} == {
            file.path.name for file in files if file.path.name.endswith(UNREADABLE)
        }
        assert {str(pydicom.dcmread(path).SOPInstanceUID) for path in peer.files} == sent.keys()
    else:
        assert {data_set(path) for path in peer.files} == set(sent.values())


def test_a_storescp_that_takes_one_association_at_a_time_gets_all(px_store, storescp, corpus):
    peer = storescp()
    files = [
        file
        for file in unique(corpus.good)
        if file.sop_class_uid.endswith("1.1.2") and not file.path.name.endswith(UNREADABLE)
    ]
    assert files
    code, document = px_store(peer, *(file.path for file in files), "--associations", 2)
    assert (code, document["completed"]) == (0, len(files))


def test_orthanc_holds_what_was_sent(px_store, orthanc, corpus, tmp_path):
    peer = orthanc()
    folder = tmp_path / "files" / "deep" / "er"
    folder.mkdir(parents=True)
    files = unique(corpus.good)
    for number, file in enumerate(files):
        shutil.copyfile(file, folder / f"{number}")
    (folder / "DICOMDIR").write_bytes(b"")
    (folder / "readme").write_text("no image")
    code, document = px_store(peer, tmp_path / "files", "--associations", 3)
    refused = set(document["failed_sop_instance_uids"])
    assert code == (1 if document["failed"] else 0)
    assert document["skipped"] == 1
    assert document["remaining"] == 0
    expected = {file.sop_instance_uid for file in files} - refused
    assert len(expected) > len(files) * 0.8
    assert peer.sop_instance_uids() == expected


def test_a_storescp_that_takes_only_uncompressed_gets_nothing_compressed(
    px_store, storescp, corpus
):
    peer = storescp(accept_all=False)
    paths = [file.path for file in corpus.good if "1.2.840.10008.1.2.4" in file.transfer_syntax_uid]
    code, document = px_store(peer, *paths[:10])
    assert (code, document["completed"], document["failed"]) == (3, 0, 10)
    assert document["error"]["kind"] == "no-presentation-context"


def test_a_storescp_that_takes_only_uncompressed_gets_nearly_all(px_store, storescp, corpus):
    peer = storescp(accept_all=False)  # no compressed syntax, as stock
    files = [
        file for file in unique(corpus.good) if "1.2.840.10008.1.2.4" in file.transfer_syntax_uid
    ]
    paths = [file.path for file in files]
    _, document = px_store(peer, *paths, "--transcode")
    refused = set(document["failed_sop_instance_uids"])
    assert len(refused) <= 2  # whose pixels pylibjpeg cannot decode
    assert document["transcoded"] == document["completed"] == len(files) - len(refused)
    expected = {
        file.sop_instance_uid: file for file in files if file.sop_instance_uid not in refused
    }
    for path in peer.files:
        arrived = pydicom.dcmread(path)
        sent = pydicom.dcmread(expected.pop(arrived.SOPInstanceUID).path)
        assert not arrived.file_meta.TransferSyntaxUID.is_compressed
        assert (arrived.pixel_array == sent.pixel_array).all()
    assert not expected
