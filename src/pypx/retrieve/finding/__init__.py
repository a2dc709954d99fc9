"""What a PACS has of what is wanted: asked for, split where answers are cut, and filtered here."""
