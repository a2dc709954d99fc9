"""Query, retrieve and store DICOM images from a PACS, and lose nothing on the way.

The names below are loaded when they are first used, so ``import pypx`` costs nothing::

    import pypx

    with pypx.Client("ORTHANC@127.0.0.1:4242") as client:
        for study in client.find({"PatientID": "PID1"}):
            print(study.StudyInstanceUID)

``echo``, ``find``, ``move``, ``listen``, ``report`` and ``status`` are the functions of the pypx
before this one, with its dictionaries; see ``docs/moving-from-pypx.md``.
"""

from __future__ import annotations

from pypx.version import __version__

TYPE_CHECKING = False  # as a name of our own, since importing ``typing`` takes 3 ms
if TYPE_CHECKING:
    from pypx import errors
    from pypx.address import Address
    from pypx.archive import Archive
    from pypx.client.client import Client
    from pypx.compat.listening import listen
    from pypx.compat.peer import echo, move
    from pypx.compat.query import find
    from pypx.compat.reports import report
    from pypx.compat.state import status
    from pypx.dicom.data_set import DataSet
    from pypx.pacs import Pacs
    from pypx.receiver.receiver import Receiver

__all__ = [
    "Address",
    "Archive",
    "Client",
    "DataSet",
    "Pacs",
    "Receiver",
    "__version__",
    "echo",
    "errors",
    "find",
    "listen",
    "move",
    "report",
    "status",
]

_HOMES = {
    "Address": "pypx.address",
    "Archive": "pypx.archive",
    "Client": "pypx.client.client",
    "DataSet": "pypx.dicom.data_set",
    "Pacs": "pypx.pacs",
    "Receiver": "pypx.receiver.receiver",
    "echo": "pypx.compat.peer",
    "find": "pypx.compat.query",
    "listen": "pypx.compat.listening",
    "move": "pypx.compat.peer",
    "report": "pypx.compat.reports",
    "status": "pypx.compat.state",
}


def __getattr__(name: str) -> object:
    """Load a public name on its first use (PEP 562)."""
    from importlib import import_module

    if name == "errors":
        return import_module("pypx.errors")
    if name not in _HOMES:
        raise AttributeError(f"module 'pypx' has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
