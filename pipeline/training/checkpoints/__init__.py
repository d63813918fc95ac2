"""A training under way in; files from which it goes on with the same bytes out.

Read `checkpoint.py` first; `part.py` is what it holds of an unfinished epoch, `clock.py` says when one is due.
"""
