"""A step by step diagnosis of one PACS: ``px doctor``, in Python."""
