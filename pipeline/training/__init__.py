"""A fold's batches in; its weights out, resumable to the byte.

Read `stage.py` first, then `trainer.py`, which trains one `fold.py`. `teaching/` adds what another run knows.
"""
