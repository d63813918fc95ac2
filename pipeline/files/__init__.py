"""Bytes to disk and back: atomic writing, locks, checksums, archives, tables of text."""
