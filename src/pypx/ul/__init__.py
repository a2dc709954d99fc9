"""PS3.8: the DICOM upper layer, as bytes in and events out.

In: bytes of one transport connection, local primitives and the time. Out: events,
and bytes for the transport. No socket, file, clock, thread or log belongs here,
nor the meaning of a message (``pypx.dimse``).
"""
