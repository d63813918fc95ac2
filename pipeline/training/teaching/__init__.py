"""Another run, the `teacher.py`, in; what each fold learns from it out.

`distillation.py` mixes targets with its predictions, `pseudo_labels.py` labels further rows by them.
"""
