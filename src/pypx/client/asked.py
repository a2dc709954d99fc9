"""What a client asks of a PACS, for who has to keep account of it.

In: nothing. Out: a value. Not here: who keeps account, and why.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pypx.values import frozen

if TYPE_CHECKING:
    from pypx.dicom.data_set import DataSet

__all__ = ["Asked"]


@frozen
class Asked:
    """A C-FIND, C-MOVE or C-GET that is about to be sent.

    Attributes:
        service: ``C-FIND``, ``C-MOVE`` or ``C-GET``.
        sop_class_uid: Of the service.
        identifier: What is asked for.
        transfer_syntax_uid: In which the identifier is sent; empty where that is not known yet.
        destination: The AE title that gets the images; empty for a query.
    """

    service: str
    sop_class_uid: str
    identifier: DataSet
    transfer_syntax_uid: str = ""
    destination: str = ""
