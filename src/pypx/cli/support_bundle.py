"""``px support-bundle``: what somebody who helps needs to know, without patients and secrets.

In: the configuration, the archive, and a node if one is named. Out: a ``.tar.gz`` of JSON files.
What is put in is chosen here, key by key: what nobody has thought of stays out.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from pypx.cli.command import PxCommand
from pypx.cli.options import Invocation, common_options
from pypx.cli.output import error_object, json_text
from pypx.errors import ConfigError, PypxError

if TYPE_CHECKING:
    from pathlib import Path

    from pypx.archive import Archive
    from pypx.config import Config, Node
    from pypx.net.identity import UserIdentity
    from pypx.pseudonym import Pseudonyms

__all__ = ["command"]

_LIBRARIES = (
    "argon2-cffi",
    "click",
    "httpx",
    "keyring",
    "numpy",
    "openpyxl",
    "platformdirs",
    "prometheus-client",
    "pydicom",
    "pylibjpeg",
    "rich",
    "tomli-w",
    "xxhash",
)
_LATEST_JOBS = 50
_LATEST_REQUESTS = 50  # of each job
_LATEST_OBJECTS = 200
_SAID = ", and said:"  # what a command of a hook wrote follows, which may be anything


@click.command("support-bundle", cls=PxCommand, short_help="Collect what helps to find a fault.")
@click.argument("node", required=False)
@common_options()
def command(invocation: Invocation, *, node: str | None) -> int:
    """Collect versions, the configuration without secrets, the condition of the archive, and the
    last errors into one file, to be sent to who helps. No image is in it, and a keyed hash stands
    for each identifier of a patient. With NODE, that PACS is asked for an echo, and what was
    negotiated is put in as well. Look into it before you send it: it names hosts, AE titles and
    UIDs.

    \b
    px support-bundle
    px support-bundle hospital -o /tmp/bundle.tar.gz

    The exit code is 0 when the file is written, whatever is wrong with what it tells of.
    """
    from pypx.outfile import OutFile

    out = invocation.out
    path = out.discard()  # the results are no text
    path = path or time.strftime("pypx-support-%Y%m%d-%H%M%S.tar.gz")
    data = _packed(_files(invocation, node))
    try:
        file = OutFile(path)
        try:
            file.stream.write(data)
            file.commit()
        except OSError:
            file.discard()
            raise
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror or error}.") from None
    if out.form == "json":
        out.document({"path": path, "bytes": len(data)})
    else:
        out.say(f"{path} has {len(data):,} bytes. Look into it before you send it.")
    return 0


def _packed(files: Mapping[str, object]) -> bytes:
    import io
    import tarfile

    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in files.items():
            data = f"{json_text(content, indent=2)}\n".encode()
            entry = tarfile.TarInfo(f"pypx-support/{name}")
            entry.size, entry.mode, entry.mtime = len(data), 0o600, int(time.time())
            archive.addfile(entry, io.BytesIO(data))
    return packed.getvalue()


def _files(invocation: Invocation, name: str | None) -> dict[str, object]:
    """Give the content of each file; what cannot be told is told as an error."""
    hidden = invocation.out.identifiers
    files: dict[str, object] = {"versions.json": _versions()}
    try:
        config = invocation.config
    except PypxError as error:
        files["configuration.json"] = _error(error, hidden)
        return files
    hidden.shown = False  # others read this one
    node = config.node(name) if name is not None else None
    files["configuration.json"] = _configuration(config)
    try:
        with invocation.open_archive(create=False, read_only=True) as archive:
            _learn(archive, hidden)
            files["jobs.json"] = _jobs(archive, hidden)
            files["index.json"] = _counts(archive)
    except PypxError as error:
        files["index.json"] = _error(error, hidden)
    try:
        files["archive.json"] = _condition(config, hidden)
    except (PypxError, OSError) as error:
        files["archive.json"] = _error(error, hidden)
    if node is not None:
        files["node.json"] = _negotiation(invocation, node, hidden)
    return files


def _error(error: Exception, hidden: Pseudonyms) -> dict[str, object]:
    if not isinstance(error, PypxError):
        return {"error": {"kind": type(error).__name__}}
    return {"error": {key: hidden.hide(text) for key, text in error_object(error).items()}}


def _versions() -> dict[str, object]:
    import platform
    import sqlite3
    import ssl
    from importlib.metadata import PackageNotFoundError, version

    from pypx.version import __version__

    libraries: dict[str, str | None] = {}
    for library in _LIBRARIES:
        try:
            libraries[library] = version(library)
        except PackageNotFoundError:
            libraries[library] = None
    return {
        "pypx": __version__,
        "python": sys.version,
        "system": platform.platform(),
        "machine": platform.machine(),
        "sqlite": sqlite3.sqlite_version,
        "openssl": ssl.OPENSSL_VERSION,
        "libraries": libraries,
    }


# The configuration


def _configuration(config: Config) -> dict[str, object]:
    from pypx.values import fields

    listen = {name: getattr(config.listen, name) for name in fields(config.listen)}
    listen["tls"] = _tls(config.listen.tls)
    limits = listen.pop("limits")
    listen["limits"] = {name: getattr(limits, name) for name in fields(limits)}
    return {
        "aet": config.aet,
        "archive": config.archive,
        "layout": config.layout,
        "umask": config.umask,
        "log_identifiers": config.log_identifiers,
        "audit": str(config.audit) if config.audit else None,
        "listen": listen,
        "nodes": [
            {
                "name": node.name,
                "address": str(node.address),
                "aet": node.aet,
                "model": node.model,
                "associations": node.associations,
                "tls": _tls(node.tls),
                "identity": _identity(node.identity),
            }
            for node in config.nodes.values()
        ],
        "hooks": [
            {
                "name": hook.name,
                "kind": "webhook" if hook.webhook else "command",
                "program": hook.command[0] if hook.command else None,
                "arguments": max(0, len(hook.command) - 1),
                "headers": sorted(hook.headers),
                "timeout": hook.timeout,
            }
            for hook in config.hooks
        ],
    }


def _tls(settings: Any) -> dict[str, object] | None:
    """Give the settings of TLS; of a passphrase only whether it is set."""
    if settings is None:
        return None
    from pypx.values import fields

    facts = {name: getattr(settings, name) for name in fields(settings)}
    facts["passphrase"] = facts["passphrase"] is not None
    return facts


def _identity(identity: UserIdentity | None) -> dict[str, object] | None:
    """Give the kind of a user identity, and in what its secret is; neither name nor place."""
    if identity is None:
        return None
    where = identity.secret.partition(":")[0]
    return {"type": identity.kind, "secret": where, "confirm": identity.confirm}


# The archive


def _learn(archive: Archive, hidden: Pseudonyms) -> None:
    """Get to know the identifiers that sentences may have: of what is here, and was asked for."""
    from itertools import islice

    for row in islice(archive.find("study"), 5000):
        for keyword, value in row.items():
            hidden.learn(keyword, str(value or ""))
    for transfer in archive.ledger.transfers(_LATEST_JOBS):
        for query in archive.ledger.queries(transfer):
            for keyword, value in query.keys.items():
                hidden.learn(keyword, str(value or ""))
        for study in islice(archive.account(transfer).studies(), 1000):
            hidden.learn("PatientID", study.patient_id)
            hidden.learn("PatientName", study.patient_name)
            hidden.learn("AccessionNumber", study.accession_number)
            hidden.learn("StudyDescription", study.study_description)


def _counts(archive: Archive) -> dict[str, int]:
    return {level: sum(1 for _ in archive.find(level)) for level in ("patient", "study", "series")}


def _jobs(archive: Archive, hidden: Pseudonyms) -> list[dict[str, object]]:
    found = []
    for transfer in archive.ledger.transfers(_LATEST_JOBS):
        requests = archive.account(transfer).requests(_LATEST_REQUESTS)
        found.append(
            {
                "id": transfer.id,
                "node": transfer.node,
                "state": transfer.state,
                "reason": hidden.hide(transfer.reason),
                "notes": [hidden.hide(note) for note in transfer.notes],
                "began_at": transfer.began_at,
                "seconds": transfer.seconds,
                "requests_that_failed": [
                    {
                        "study_instance_uid": study,
                        "series_instance_uid": series,
                        "method": request.method,
                        "level": request.level,
                        "asked": request.asked,
                        "sent_at": request.sent_at,
                        "seconds": request.seconds,
                        "status": request.status,
                        "completed": request.completed,
                        "failed": request.failed,
                        "reason": hidden.hide(request.reason),
                    }
                    for study, series, request in requests
                    if request.status != 0 or request.reason
                ],
            }
        )
    return found


def _condition(config: Config, hidden: Pseudonyms) -> dict[str, object]:
    from pathlib import Path

    from pypx.archive.condition import condition_of

    root = Path(config.archive).absolute()
    condition = condition_of(root, 0)
    return {
        "free_bytes": condition.free_bytes,
        "processes": len(condition.processes),
        "incomplete_since": condition.incomplete_since,
        "quarantine": condition.quarantine.total,
        "superseded": condition.superseded.total,
        "interrupted": [
            {**one._asdict(), "reason": hidden.hide(one.reason)}
            for one in condition.interrupted[:_LATEST_OBJECTS]
        ],
        "hooks": _hooks(root, hidden),
    }


def _hooks(root: Path, hidden: Pseudonyms) -> dict[str, object]:
    from pypx.archive.tree import META_FOLDER
    from pypx.receiver.hook_queue import HookQueue

    queue = HookQueue(root / META_FOLDER / "hooks")
    reasons = [str(one.get("reason", "")).partition(_SAID)[0] for one in queue.failures(20)]
    return {
        "queued": queue.queued,
        "failed": queue.failed,
        "reasons": [hidden.hide(reason) for reason in reasons],
    }


# A node


def _negotiation(invocation: Invocation, node: Node, hidden: Pseudonyms) -> dict[str, object]:
    """Ask for an echo, and tell what was negotiated."""
    facts: dict[str, object] = {"address": str(node.address), "tls": node.tls is not None}
    try:
        with invocation.client(node) as client:
            echo = client.echo()
            return {
                **facts,
                "calling_ae_title": client.calling_ae_title,
                "seconds": echo.seconds,
                "implementation_class_uid": echo.peer.implementation_class_uid,
                "implementation_version_name": echo.peer.implementation_version_name,
                "maximum_pdu_length": echo.peer.maximum_pdu_length,
                "contexts": [
                    {
                        "context_id": context.context_id,
                        "abstract_syntax": context.abstract_syntax,
                        "transfer_syntax": context.transfer_syntax,
                    }
                    for context in client.contexts
                ],
            }
    except PypxError as error:
        return {**facts, **_error(error, hidden)}
