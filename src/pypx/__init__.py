"""Query, retrieve and store DICOM images from a PACS, and lose nothing on the way.

The names below are loaded when they are first used, so ``import pypx`` costs nothing::

    import pypx

    with pypx.Client("ORTHANC@127.0.0.1:4242") as client:
        for study in client.find({"PatientID": "PID1"}):
            print(study.StudyInstanceUID)
"""

from __future__ import annotations

from pypx.version import __version__

TYPE_CHECKING = False  # as a name of our own, since importing ``typing`` takes 3 ms
if TYPE_CHECKING:
    from pypx import errors
    from pypx.address import Address
    from pypx.archive import Archive
    from pypx.client.client import Client
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
    "errors",
]

_HOMES = {
    "Address": "pypx.address",
    "Archive": "pypx.archive",
    "Client": "pypx.client.client",
    "DataSet": "pypx.dicom.data_set",
    "Pacs": "pypx.pacs",
    "Receiver": "pypx.receiver.receiver",
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
