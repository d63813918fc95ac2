"""Rows of the competition's tables: those to train on, to predict, external and new ones."""
