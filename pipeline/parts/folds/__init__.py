"""Assign rows to folds: what balance means, how it is searched, and what each scheme asks for."""
