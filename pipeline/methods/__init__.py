"""Pure mathematics, arrays in and arrays out: no config, no files.

Losses, metrics, mixing, schedules, views, blenders, decisions: each a small function and a line in a table. Read
`tasks.py` first: what fits a kind of target.
"""
