"""A prediction in; the file that is submitted out, or nothing and the reason. Read `filling.py` first."""
