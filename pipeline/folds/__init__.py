"""Rows in; `folds/NAME.csv` out: who validates whom, frozen once made. Read `stage.py` first, then `schemes.py`."""
