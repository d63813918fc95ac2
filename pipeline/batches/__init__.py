"""Pixels and targets in; batches out: augmented, and in an order that the seed decides.

Read `rows.py` first, then `loader.py`.
"""
