"""Foldline: from a competition's train.csv to a submission.csv whose score can be believed."""
