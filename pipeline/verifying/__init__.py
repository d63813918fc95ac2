"""A finished run comes in; VERIFIED goes out, or each file that is not what it was made from.

Read `stage.py` first. Nothing is written into the run: what stages write is computed again and compared.
"""
