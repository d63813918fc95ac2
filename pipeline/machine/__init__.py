"""The machine in; device, precision, threads and processes out.

`devices.py` chooses from the hardware; `processes.py` counts cores and knows the other processes of `accelerate
launch`; `parallel_folds.py` gives each fold a process. Only `devices.py` imports torch.
"""
