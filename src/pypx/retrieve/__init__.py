"""The whole job: what a PACS has, what of it is here, and how the rest comes here."""
