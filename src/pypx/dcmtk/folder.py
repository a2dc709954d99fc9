"""A folder of our own for what DCMTK's programs read and write.

In: nothing. Out: a folder that only this user may enter, and files in it.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from pypx.dicom.data_set import DataSet
from pypx.dicom.elements import encoding_of
from pypx.dicom.part10 import FileMeta, encode_preamble_and_meta
from pypx.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN
from pypx.errors import ArchiveError

__all__ = ["PrivateFolder"]

_IDENTIFIER = "identifier.dcm"
_INSTANCE = "2.25.1"  # stands for none; an identifier is no instance, but the file needs one


class PrivateFolder:
    """A folder with rights for this user only.

    Attributes:
        path: Where it is.

    Raises:
        ArchiveError: It cannot be made.
    """

    def __init__(self) -> None:
        try:
            self.path = Path(tempfile.mkdtemp(prefix="pypx-dcmtk-"))  # mode 0700
        except OSError as error:
            raise ArchiveError(
                f"No temporary folder can be made: {error.strerror or error}.",
                hint="Name a folder where you may write in TMPDIR.",
            ) from None

    def write_identifier(self, identifier: DataSet, sop_class_uid: str) -> str:
        """Write the identifier of a request; give the path of the file.

        A file, and not arguments: what is in them stands in the list of processes, and has to be
        quoted.

        Raises:
            ArchiveError: It cannot be written.
        """
        meta = FileMeta(sop_class_uid, _INSTANCE, EXPLICIT_VR_LITTLE_ENDIAN)
        data = identifier.to_bytes(encoding_of(EXPLICIT_VR_LITTLE_ENDIAN))
        return str(self.write(_IDENTIFIER, encode_preamble_and_meta(meta) + data))

    def write(self, name: str, data: bytes) -> Path:
        """Write a file; give its path.

        Raises:
            ArchiveError: It cannot be written.
        """
        path = self.path / name
        try:
            path.write_bytes(data)
        except OSError as error:
            raise _unwritable(path, error) from None
        return path

    def below(self, name: str) -> Path:
        """Make a folder in it.

        Raises:
            ArchiveError: It cannot be made.
        """
        folder = self.path / name
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise _unwritable(folder, error) from None
        return folder

    def remove(self) -> None:
        """Remove it with all that is in it; more than once is fine."""
        shutil.rmtree(self.path, ignore_errors=True)


def _unwritable(path: Path, error: OSError) -> ArchiveError:
    return ArchiveError(
        f"{path} cannot be written: {error.strerror or error}.",
        hint="Name a folder with more room in TMPDIR.",
    )
