"""Paths in; pixels at one size out, decoded by one contract and cached. Read `decoding.py` first, then `cache.py`."""
