"""The audit trail: DICOM PS3.15 A.5 messages, to a file or to syslog."""
