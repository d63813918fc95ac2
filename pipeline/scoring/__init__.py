"""Probabilities and truth come in; scores, comparisons and the ledger of submissions go out.

Read `stage.py` first; `evaluation.py` says how blends and comparisons are evaluated on folds that no fit saw.
"""
