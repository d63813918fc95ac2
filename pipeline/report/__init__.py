"""A run's files come in; one HTML page goes out. Read `stage.py` first: the list of its sections."""
