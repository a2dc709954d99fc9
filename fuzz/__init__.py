"""Coverage-guided fuzzing of what takes bytes from the network: ``make fuzz SECONDS=60``."""
