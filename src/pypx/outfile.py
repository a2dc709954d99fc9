"""A file for the user, which has its name only when all of it is there.

In: a path, and bytes. Out: the file. Not here: the archive, whose files are made otherwise, and
what is said when it fails.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress

from pypx.modes import file_mode

TYPE_CHECKING = False  # as a name of our own, since importing ``typing`` takes 3 ms
if TYPE_CHECKING:
    from typing import BinaryIO

__all__ = ["OutFile"]


class OutFile:
    """A file that is being written; what had the name before stays until :meth:`commit`.

    Args:
        path: Its name; a link is followed.

    Attributes:
        path: The same.
        stream: What to write to.

    Raises:
        OSError: It cannot be made.
    """

    def __init__(self, path: str) -> None:
        if os.path.isdir(path):  # noqa: PTH112 - pathlib costs 4 ms
            raise IsADirectoryError(21, "it is a folder")
        self.path = path
        folder, name = os.path.split(os.path.realpath(path))
        self._part = os.path.join(folder, f".{name}.{os.getpid()}.part")  # noqa: PTH118
        if os.path.exists(path) and not os.path.isfile(path):  # noqa: PTH110, PTH113
            self._part = ""  # a device or a pipe: nothing may take its place
        self.stream: BinaryIO = open(self._part or path, "wb")  # noqa: PTH123, SIM115
        self._allowed = 0
        if self._part:
            self._allowed = stat.S_IMODE(os.fstat(self.stream.fileno()).st_mode)
            os.fchmod(self.stream.fileno(), self._allowed & 0o600)  # it may name patients

    def commit(self) -> None:
        """Bring it to the disk, and give it its name.

        Raises:
            OSError: As the system says; :meth:`discard` then cleans up.
        """
        self.stream.flush()
        if not self._part:
            self.stream.close()
            return
        # What the umask of the process keeps from others, ours does not give them.
        os.fchmod(self.stream.fileno(), self._allowed & file_mode())
        os.fsync(self.stream.fileno())
        self.stream.close()
        os.replace(self._part, os.path.realpath(self.path))  # noqa: PTH105

    def discard(self) -> None:
        """Leave what had the name as it was."""
        with suppress(OSError):
            self.stream.close()
        with suppress(OSError):
            os.unlink(self._part)  # noqa: PTH108
