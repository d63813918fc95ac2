"""YAML in, a typed and frozen Config out, or every problem of it at once.

Read `sections/` first: every key with its default, its meaning and the results that it affects.
"""
