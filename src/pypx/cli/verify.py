"""``px verify``: is everything in the archive as it was stored?

In: the archive. Out: what is wrong with it, and exit code 1 where something is.
"""

from __future__ import annotations

import os
import time

import click

from pypx.cli.command import PxCommand
from pypx.cli.findings import PROBLEMS, document, tell_findings
from pypx.cli.options import Invocation, common_options
from pypx.cli.progress import TransferProgress
from pypx.cli.show import count

__all__ = ["command"]


@click.command("verify", cls=PxCommand, short_help="Compare the files with the index.")
@click.option("--no-checksums", is_flag=True, help="Do not read the files: only names and sizes.")
@common_options(jsonl=True, csv=True, timeout=False)
def command(invocation: Invocation, *, no_checksums: bool) -> int:
    """Read every file of the archive again and compare it with what was stored.

    Reported are damaged files (bit rot, other content, no DICOM), missing ones, files that
    the index lacks, and what is no file, such as links. Nothing is changed. A listener may
    go on receiving meanwhile.

    \b
    px verify
    px verify --jsonl | jq -r .path
    px verify --no-checksums

    The exit code is 0 when everything is as it was stored, else 1.
    """
    out = invocation.out
    started = time.monotonic()
    # Without the right to write, nobody who stores at the same moment can be waited for.
    read_only = not os.access(invocation.config.archive, os.W_OK)
    with invocation.open_archive(create=False, read_only=read_only) as archive:
        for note in archive.notes:
            out.say(note)
        expected = sum(int(str(row["instances"])) for row in archive.find("patient"))
        with TransferProgress(out, "verify", "looking") as progress:
            report = archive.check(
                checksums=not no_checksums,
                progress=lambda done: progress.show(max(expected - done, 0), done, 0, 0),
            )
        kinds = list(PROBLEMS)
        if out.form == "json":
            out.document(document(archive.root, report, kinds, time.monotonic() - started))
        else:
            tell_findings(out, archive.root, report, kinds)
    files = count(report.files, "file")
    if report.ok:
        out.say(f"{files}, all as stored." if not no_checksums else f"{files}, all there.")
    else:
        out.say(f"{files}; not all is well.")
    return 0 if report.ok else 1
