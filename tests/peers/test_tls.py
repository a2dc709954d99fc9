"""DICOM over TLS with DCMTK and Orthanc."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TypeVar

import pytest

from pypx.archive import Archive
from pypx.client.requestor import Requestor
from pypx.errors import AssociationError, NetworkError, TlsError
from pypx.net.tls_settings import ClientTls, ServerTls
from pypx.receiver.receiver import Receiver
from tests.corpus import Corpus
from tests.net.certificates import Certificates
from tests.peers.dcmtk import UNCOMPRESSED, StoreScp, echoscu, storescu
from tests.peers.orthanc import Orthanc
from tests.peers.process import HOST, Peer

Make = Callable[..., Requestor]
P = TypeVar("P", bound=Peer)

pytestmark = pytest.mark.peers


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


def split(path: str) -> tuple[str, str]:
    """Give the key and the certificates of a file apart, as DCMTK and Orthanc want them."""
    text = Path(path).read_text("ascii")
    start = text.index("-----BEGIN CERTIFICATE")
    key, certificate = f"{path}.key", f"{path}.crt"
    Path(key).write_text(text[:start], "ascii")
    Path(certificate).write_text(text[start:], "ascii")
    return key, certificate


@contextmanager
def started(peer: P) -> Iterator[P]:
    peer.start()
    try:
        yield peer
    finally:
        peer.stop()


def test_px_stores_to_storescp(
    make_requestor: Make, engine: str, certificates: Certificates, tmp_path: Path, corpus: Corpus
) -> None:
    """DCMTK does not say that it was for want of a certificate; see docs/engines.md."""
    key, certificate = split(certificates.issue(HOST))
    own = certificates.issue("client.example.org")
    flags = ("+tls", key, certificate, "+cf", certificates.ca, "-rc", "--fork")
    files = [file.path for file in corpus.good[:5]]
    with started(StoreScp(tmp_path, flags=flags)) as peer:
        with make_requestor(
            peer.address, tls=ClientTls(ca=certificates.ca, certificate=own)
        ) as client:
            assert client.echo().seconds < 5
            sent = list(client.store_files(files))
        assert [one.error for one in sent if one.error] == []
        assert len(peer.files) == len(files)
        with (
            pytest.raises(TlsError if engine == "native" else (NetworkError, AssociationError)),
            make_requestor(peer.address, tls=ClientTls(ca=certificates.ca)) as client,
        ):
            client.echo()
        with (
            pytest.raises(TlsError, match=r"leads to none that is trusted|verify failed"),
            make_requestor(peer.address, tls=ClientTls(ca=certificates.other_ca)) as client,
        ):
            client.echo()


def test_px_queries_orthanc(
    make_requestor: Make, certificates: Certificates, tmp_path: Path, corpus: Corpus
) -> None:
    key, certificate = split(certificates.issue(HOST))
    config = {
        "DicomTlsEnabled": True,
        "DicomTlsCertificate": certificate,
        "DicomTlsPrivateKey": key,
        "DicomTlsTrustedCertificates": certificates.ca,
        "DicomTlsRemoteCertificateRequired": False,
    }
    with started(Orthanc(tmp_path, config=config)) as orthanc:
        orthanc.load(corpus.good[:3])
        with make_requestor(orthanc.address, tls=ClientTls(ca=certificates.ca)) as client:
            client.echo()
            assert {match.SOPInstanceUID for match in images(client)} == set(
                orthanc.sop_instance_uids()
            )


def images(client: Requestor) -> list[object]:
    found = []
    for study in list(client.find({"StudyInstanceUID": ""})):
        keys = {"StudyInstanceUID": study.StudyInstanceUID}
        for series in list(client.find(keys, level="series")):
            below = {**keys, "SeriesInstanceUID": series.SeriesInstanceUID}
            found += list(client.find(below, level="image"))
    return found


def test_storescu_and_orthanc_send_to_us(
    certificates: Certificates, tmp_path: Path, corpus: Corpus
) -> None:
    tls = ServerTls(certificates.issue(HOST), ca=certificates.ca)
    key, certificate = split(certificates.issue("client.example.org"))
    plain = (one for one in corpus.good if one.transfer_syntax_uid in UNCOMPRESSED)
    files = [file.path for file in islice(plain, 5)]
    with (
        Archive(tmp_path / "archive", durability="none") as archive,
        Receiver(archive, port=0, tls=tls) as receiver,
    ):
        where = f"PYPX@{HOST}:{receiver.port}"
        flags = ("+tls", key, certificate, "+cf", certificates.ca)
        assert echoscu(where, *flags).returncode == 0
        assert echoscu(where, "+tla").returncode != 0, "it shows no certificate"
        assert echoscu(where).returncode != 0
        sent = storescu(files, where, *flags)
        assert sent.returncode == 0, sent.output
        stored = {str(row["SOPInstanceUID"]) for row in archive.find("image")}
        assert len(stored) == len(files)
        config = {
            "DicomTlsEnabled": False,
            "DicomTlsCertificate": certificate,
            "DicomTlsPrivateKey": key,
            "DicomTlsTrustedCertificates": certificates.ca,
            "DicomModalities": {
                "pypx": {"AET": "PYPX", "Host": HOST, "Port": receiver.port, "UseDicomTls": True}
            },
        }
        with started(Orthanc(tmp_path, config=config)) as orthanc:
            more = corpus.good[5:8]
            orthanc.load(more)
            names = orthanc.rest("/instances")
            answer = orthanc.rest("/modalities/pypx/store", method="POST", body=names)
            assert answer["FailedInstancesCount"] == 0
            stored = {str(row["SOPInstanceUID"]) for row in archive.find("image")}
            assert set(orthanc.sop_instance_uids()) <= stored
