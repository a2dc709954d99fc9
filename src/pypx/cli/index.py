"""``px index``: the index made again from the files, and files taken in.

In: the tree of the archive, or files and folders from elsewhere. Out: what became of them.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pypx.cli.command import PxCommand, help_option
from pypx.cli.findings import document, tell_findings
from pypx.cli.importing import Import
from pypx.cli.options import Invocation, common_options, maps_option
from pypx.cli.output import Output
from pypx.cli.progress import TransferProgress
from pypx.cli.reception import tell_notes
from pypx.cli.show import count

if TYPE_CHECKING:
    from pypx.archive.companions import Companions

__all__ = ["command"]

_UNUSABLE = ("damaged", "strange", "copies")


class _IndexGroup(click.Group):
    def get_help_option(self, ctx: click.Context) -> click.Option:
        """Give ``--help``."""
        return help_option()


@click.group("index", cls=_IndexGroup, short_help="Make the index again, or take files in.")
def command() -> None:
    """Keep index and files together; the files are the truth.

    \b
    px index rebuild
    px index import /media/cdrom ~/more/*.dcm
    """


@command.command("rebuild", cls=PxCommand)
@common_options(jsonl=True, csv=True, timeout=False)
@maps_option
def rebuild(invocation: Invocation) -> int:
    """Make the index again from the files.

    Files are only read. A damaged index is kept aside. A listener may go on receiving.
    --maps also makes the maps of what is there, and .info files where the layout has them.

    The exit code is 1 when there are files that cannot be indexed.
    """
    out = invocation.out
    started = time.monotonic()
    # A tree that was copied without its .pypx is an archive as well.
    exists = Path(invocation.config.archive).is_dir()
    with invocation.open_archive(create=exists) as archive:
        tell_notes(out, archive.notes)
        told = len(archive.notes)
        with TransferProgress(out, "rebuild", "looking") as progress:
            report = archive.rebuild(lambda done: progress.show(None, done, 0, 0))
        tell_notes(out, archive.notes[told:])
        if (companions := invocation.companions(archive)) is not None:
            _write_companions(out, companions)
        root = archive.root
    report_left = report._replace(missing=())
    if out.form == "json":
        result: dict[str, Any] = document(root, report_left, _UNUSABLE, time.monotonic() - started)
        result["removed"] = [str(root / path) for path in report.missing]
        out.document(result)
    else:
        tell_findings(out, root, report_left, _UNUSABLE)
    if report.missing:
        out.warn(f"{count(len(report.missing), 'row')} without a file left the index.")
    unusable = len(report.damaged) + len(report.copies)
    out.say(f"{count(report.files - unusable, 'file')} indexed.")
    return 0 if report_left.ok else 1


def _write_companions(out: Output, companions: Companions) -> None:
    """Write maps and ``.info`` files for all that is in the index."""
    from pypx.archive.files import archive_error  # the man pages are made without its packages

    try:
        with TransferProgress(out, "rebuild", "noting") as progress:
            number = companions.write_all(lambda done: progress.show(None, done, 0, 0))
    except OSError as error:
        raise archive_error(error, "note where the series are") from error
    out.detail(f"noted where {count(number, 'series', 'series')} are")


@command.command("import", cls=PxCommand)
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@common_options(jsonl=True, csv=True, timeout=False)
@maps_option
def import_files(invocation: Invocation, *, paths: tuple[str, ...]) -> int:
    """Take Part 10 files into the archive; folders with all that is below them.

    Files are copied, and the originals only read; a file that is in the tree of the archive
    already is indexed where it is, if its name ends in .dcm. In folders, names that begin with a
    dot and DICOMDIR are passed over, and links to folders are not followed. So is what upstream
    has beside its images: .info files, JSON, logs, empty marks.

    \b
    px index import /media/cdrom
    px index import images/ one.dcm --json
    px index import --archive /dicom/data /dicom/data     # what upstream received, where it is

    The exit code is 1 when something was refused.
    """
    with invocation.open_archive(create=True) as archive:
        tell_notes(invocation.out, archive.notes)
        told = len(archive.notes)
        run = Import(archive, invocation.out, invocation.companions(archive))
        invocation.interrupts.cancel = run.stop
        run.take(paths)
        tell_notes(invocation.out, archive.notes[told:])
    return run.end()
