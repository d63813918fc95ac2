"""`tune.space` in; settings of trials and their configs out. Read `space.py` first, which shows the language."""
