"""Probabilities and truth in; scores, comparisons and the ledger of submissions out. Read `stage.py` first."""
