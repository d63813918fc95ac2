"""A search space in; `best.yaml` out. Read `stage.py` first, then `trial.py`."""
