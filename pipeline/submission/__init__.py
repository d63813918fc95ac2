"""A prediction in; the file that is handed in out, or nothing and the reason. Read `filling.py` first."""
