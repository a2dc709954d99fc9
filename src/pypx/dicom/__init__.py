"""Data sets: PS3.5 encoding, PS3.6 dictionary, PS3.10 file header.

In: bytes and keywords. Out: values. Nothing here reads a file of the user, opens a
connection, looks at a clock or knows what a C-STORE is. Import the module that you
need (``pypx.dicom.uids``, ``pypx.dicom.data_set``); this one loads nothing.
"""
