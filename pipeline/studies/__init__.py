"""Several runs in, or one that is yet to be made; an answer out.

`ablation.py` trains variants and compares them; `distilling.py` names a teacher's student; `bench.py` measures
images per second (`throughput.py`) and `dry.py` says what a run would do, both with an estimate (`estimate.py`).
"""
