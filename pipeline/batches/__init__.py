"""Pixels and targets in; batches out: augmented, in keyed order. Read `rows.py` first, then `loader.py`."""
