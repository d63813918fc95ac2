"""The whole input in; every defect of it out before any compute, and a filled image cache. Read `stage.py` first."""
