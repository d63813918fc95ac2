"""The machine: devices, precision, threads, the processes of one training, folds in parallel."""
