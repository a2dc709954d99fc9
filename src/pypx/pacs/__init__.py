"""An embedded PACS over an archive: for the demo, for tests, for trying things out.

C-ECHO, C-STORE, C-FIND, C-MOVE and C-GET as a service class provider. It trusts
whoever reaches it, so it listens on loopback unless told otherwise. It can be told to
misbehave, in the ways that PACS in the field do.
"""

from pypx.pacs.faults import FAULTS
from pypx.pacs.pacs import Pacs

__all__ = ["FAULTS", "Pacs"]
