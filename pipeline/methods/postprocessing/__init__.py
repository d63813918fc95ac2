"""Finished predictions come in; calibrated ones, or the labels and values that are submitted, go out.

Each kind is a fit, whose gain is real only on rows that it was not fitted on, and what applies it. Read
`decisions.py` first.
"""
