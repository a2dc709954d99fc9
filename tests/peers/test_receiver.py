"""Real senders into our receiver: what they sent lies there, byte for byte."""

from __future__ import annotations

import time
from collections import defaultdict

import pytest

from pypx.archive import Archive
from pypx.client.client import Client
from pypx.client.store import Instance
from pypx.dicom.part10 import decode_preamble_and_meta
from pypx.dimse.messages import CStoreRQ
from pypx.errors import PypxError
from pypx.net.connection import Timeouts
from pypx.receiver.receiver import Receiver
from tests.names import NAMES
from tests.peers import dcmtk

TIMEOUTS = Timeouts(connect=5, association=10, response=30, release=5)

# What DCMTK's storescu cannot send: it finds no SOP class in elements of VR UN.
STORESCU_CANNOT = {"explicit_VR-UN.dcm", "rtdose_rle.dcm"}


@pytest.fixture
def archive(tmp_path):
    with Archive(tmp_path / "archive") as one:
        yield one


@pytest.fixture
def receiver(archive):
    with Receiver(archive, port=0) as one:
        yield one


def address(receiver):
    return f"PYPX@{receiver.host}:{receiver.port}"


def data_set(path):
    data = path.read_bytes()
    return data[decode_preamble_and_meta(data)[1] :]


def stored(archive):
    """SOP Instance UID to data set bytes, of all that the index knows."""
    return {
        row["SOPInstanceUID"]: data_set(archive.root / row["path"])
        for row in archive.find("image", {})
    }


def test_echoscu_is_answered(receiver):
    assert dcmtk.echoscu(address(receiver)).returncode == 0


@pytest.mark.parametrize("nodelay", [True, False], ids=["nodelay", "nagle"])
def test_storescu_of_the_corpus_is_as_a_bit_preserving_storescp_got_it(
    corpus, archive, receiver, storescp, association_profile, nodelay
):
    files = [f for f in corpus.good if f.source.rpartition("/")[2] not in STORESCU_CANNOT]
    control = storescp()
    for peer in (address(receiver), control.address):
        outcome = dcmtk.storescu(
            files, peer, profile=association_profile, nodelay=nodelay or peer == control.address
        )
        assert outcome.returncode == 0, outcome.output
    sent = {}
    for path in control.files:
        meta, offset = decode_preamble_and_meta(path.read_bytes())
        sent[meta.sop_instance_uid] = path.read_bytes()[offset:]
    assert stored(archive) == sent
    assert len(sent) == len(files)


def test_storescu_refuses_what_we_say_it_does(corpus, receiver, association_profile):
    for file in corpus.good:
        if file.source.rpartition("/")[2] in STORESCU_CANNOT:
            outcome = dcmtk.storescu([file], address(receiver), profile=association_profile)
            assert outcome.returncode != 0


def send_all(receiver, files):
    """Send files as they are, in batches of one association; give UID to status or error."""
    answers = {}
    instances = [Instance.from_file(file.path) for file in files]
    for start in range(0, len(instances), 60):
        batch = instances[start : start + 60]
        with Client(address(receiver), timeouts=TIMEOUTS) as client:
            sender = client.store(batch)
            for instance in batch:
                answers[instance.path] = sender.send(instance).status
    return answers


def test_every_good_file_is_stored_bit_for_bit(corpus, archive, receiver):
    answers = send_all(receiver, corpus.good)
    assert set(answers.values()) == {0}
    kept = stored(archive)
    assert len(kept) == len(corpus.good)
    for file in corpus.good:
        assert kept[file.sop_instance_uid.strip()] == file.sent_bytes(), file.source


def test_names_of_all_character_sets_are_indexed(corpus, archive, receiver):
    send_all(receiver, corpus.good)
    rows = {row["SOPInstanceUID"]: row["PatientName"] for row in archive.find("image", {})}
    names = {
        file.source.rpartition("/")[2]: rows[file.sop_instance_uid.strip()] for file in corpus.good
    }
    assert {file_name: names[file_name] for file_name in NAMES} == NAMES


def test_files_with_the_uid_of_another_are_both_kept(corpus, archive, receiver):
    send_all(receiver, corpus.good)
    answers = send_all(receiver, corpus.dup)
    assert set(answers.values()) == {0}
    everything = [data_set(path) for path in archive.root.rglob("*.dcm")]
    wanted = {file.sent_bytes() for file in (*corpus.good, *corpus.dup)}
    assert wanted <= set(everything)


# What becomes of each nasty file; those that are not named are stored.
CANNOT_BE_SENT = {
    # No preamble, so nothing says that it is DICOM and in which transfer syntax.
    *("OT-PAL-8-face.dcm", "ExplVR_BigEndNoMeta.dcm", "ExplVR_LitEndNoMeta.dcm"),
    *("no_meta.dcm", "rtstruct.dcm"),
    # No SOP class, instance or transfer syntax to announce.
    *("empty_charset_LEI.dcm", "meta_missing_tsyntax.dcm", "nested_priv_SQ.dcm"),
    # No data set at all.
    "bad.dcm",
    # A media directory is no storage class, and is not accepted.
    *("DICOMDIR", "DICOMDIR-bigEnd", "DICOMDIR-empty.dcm", "DICOMDIR-implicit"),
    *("DICOMDIR-nooffset", "DICOMDIR-nopatient", "DICOMDIR-reordered"),
}
REFUSED = {
    # No SOP Instance UID in the data set.
    **dict.fromkeys(("chrSQEncoding.dcm", "chrSQEncoding1.dcm", "UN_sequence.dcm"), 0xA900),
    **dict.fromkeys(("no_meta_group_length.dcm", "priv_SQ.dcm"), 0xA900),
    # No Study or Series Instance UID: colour palettes and bare images.
    **dict.fromkeys(("fall.dcm", "hotiron.dcm", "hotmetalblue.dcm", "pet.dcm"), 0xC000),
    **dict.fromkeys(("pet20step.dcm", "spring.dcm", "summer.dcm", "winter.dcm"), 0xC000),
    **dict.fromkeys(("JPEGLSNearLossless_08.dcm", "JPEGLSNearLossless_16.dcm"), 0xC000),
    **dict.fromkeys(("SC_rgb_jls_lossy_line.dcm", "SC_rgb_jls_lossy_sample.dcm"), 0xC000),
    # Cut off in the middle of an element.
    **dict.fromkeys(("MR_truncated.dcm", "rtplan_truncated.dcm"), 0xC000),
}


def test_every_nasty_file_is_stored_bit_for_bit_or_its_refusal_has_a_name(
    corpus, archive, receiver
):
    answers, expected = {}, {}
    for file in corpus.nasty:
        name = file.source.rpartition("/")[2]
        expected[name] = "cannot be sent" if name in CANNOT_BE_SENT else REFUSED.get(name, 0)
        try:
            instance = Instance.from_file(file.path)
            with Client(address(receiver), timeouts=TIMEOUTS) as client:
                answers[name] = client.store([instance]).send(instance).status
        except PypxError:
            answers[name] = "cannot be sent"
    assert answers == expected
    assert CANNOT_BE_SENT | REFUSED.keys() <= answers.keys()
    # Stored or refused, what was sent is kept: in the tree or in quarantine.
    kept = {data_set(path) for path in archive.root.rglob("*.dcm")}
    for file in corpus.nasty:
        if answers[file.source.rpartition("/")[2]] != "cannot be sent":
            assert file.sent_bytes() in kept, file.source
    with Client(address(receiver), timeouts=TIMEOUTS) as client:
        client.echo()


def test_orthanc_moves_its_corpus_here(make_requestor, loaded_orthanc, archive, receiver):
    loaded_orthanc.add_modality("PYPX", receiver.port)
    studies = {file.study_instance_uid for file in loaded_orthanc.held}
    completed = 0
    with make_requestor(loaded_orthanc.address, timeouts=TIMEOUTS) as client:
        for study in sorted(studies):
            result = client.move({"StudyInstanceUID": study}, destination="PYPX").run()
            assert result.progress.failed in (0, None), (study, result)
            completed += result.progress.completed or 0
    assert completed == len(loaded_orthanc.held)
    assert set(stored(archive)) == loaded_orthanc.sop_instance_uids()


def test_orthanc_sends_the_bytes_that_a_bit_preserving_storescp_gets(
    make_requestor, loaded_orthanc, archive, receiver, storescp
):
    control = storescp(ae_title="CONTROL")
    loaded_orthanc.add_modality("PYPX", receiver.port)
    loaded_orthanc.add_modality("CONTROL", control.port)
    studies = sorted({file.study_instance_uid for file in loaded_orthanc.held})[:12]
    with make_requestor(loaded_orthanc.address, timeouts=TIMEOUTS) as client:
        for study in studies:
            for destination in ("PYPX", "CONTROL"):
                client.move({"StudyInstanceUID": study}, destination=destination).run()
    sent = {}
    for path in control.files:
        meta, offset = decode_preamble_and_meta(path.read_bytes())
        sent[meta.sop_instance_uid] = path.read_bytes()[offset:]
    assert sent
    kept = stored(archive)
    assert {uid: kept[uid] for uid in sent} == sent


def test_dcmqrscp_moves_whole_studies_here(make_requestor, loaded_dcmqrscp, archive):
    studies = defaultdict(list)
    for file in loaded_dcmqrscp.held:
        studies[file.study_instance_uid].append(file)
    wanted = {
        uid: files
        for uid, files in studies.items()
        if all(file.transfer_syntax_uid in dcmtk.UNCOMPRESSED for file in files)
    }
    with (
        Receiver(archive, port=loaded_dcmqrscp.destinations["PYPX"]),
        make_requestor(loaded_dcmqrscp.address, timeouts=TIMEOUTS) as client,
    ):
        for uid, files in wanted.items():
            result = client.move({"StudyInstanceUID": uid}, destination="PYPX").run()
            assert result.progress.completed == len(files)
    assert set(stored(archive)) == {f.sop_instance_uid for fs in wanted.values() for f in fs}


def test_what_a_peer_cannot_send_is_not_a_success(make_requestor, loaded_dcmqrscp, archive):
    compressed = next(
        file for file in loaded_dcmqrscp.held if file.transfer_syntax_uid not in dcmtk.UNCOMPRESSED
    )
    keys = {"StudyInstanceUID": compressed.study_instance_uid}
    with (
        Receiver(archive, port=loaded_dcmqrscp.destinations["PYPX"]),
        make_requestor(loaded_dcmqrscp.address, timeouts=TIMEOUTS) as client,
    ):
        try:
            result = client.move(keys, destination="PYPX").run()
        except PypxError as error:
            assert error.exit_code == 4
        else:
            assert result.progress.failed


def test_a_storescu_that_is_killed_leaves_nothing_half_written(
    corpus, archive, receiver, association_profile
):
    largest = max(corpus.good, key=lambda file: file.path.stat().st_size)
    instance = Instance.from_file(largest.path)
    with Client(address(receiver), timeouts=TIMEOUTS) as client:
        connection = client.connect([(instance.sop_class_uid, (instance.transfer_syntax_uid,))])
        connection.send(1, CStoreRQ(1, instance.sop_class_uid, instance.sop_instance_uid))
        piece, _ = next(instance.pieces())
        connection.send_data_set(1, piece[:100_000], is_last=False)
        connection._channel.close()
    deadline = time.monotonic() + 5
    while list((archive.root / ".pypx" / "incoming").iterdir()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert stored(archive) == {}
    assert list((archive.root / ".pypx" / "incoming").iterdir()) == []
