"""Bytes to disk and back: atomic writing, locks, checksums, tables of text, archives. Read `atomic.py` first."""
