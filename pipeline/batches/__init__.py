"""Pixels and targets in; batches out: augmented, in keyed order. Read `loader.py` first."""
