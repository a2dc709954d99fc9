"""PS3.7: DIMSE messages over an association, without I/O.

Bytes and values come in, messages and pieces of data sets go out. What a
message means to an archive or a user does not belong here.
"""
