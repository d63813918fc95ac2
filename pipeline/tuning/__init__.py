"""A search space in; `studies/NAME/` with `best.yaml` out.

Read `stage.py` first, the command; then `workers.py` and `queue.py`, who trains which trial; then `trial.py`.
"""
