"""A run's files in; one HTML page out. Read `stage.py` first: the list of its cards."""
