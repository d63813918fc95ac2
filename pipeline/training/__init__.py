"""A fold's batches in; its weights out, resumable to the byte.

Read `stage.py` first, then `trainer.py`, which trains one `fold.py`. `distillation.py` and `pseudo_labels.py` add what
another run, the `teacher.py`, knows.
"""
