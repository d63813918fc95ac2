"""Members come in; one prediction goes out, each choice evaluated on folds that it did not see.

Read `stage.py` first, then `variants.py`: members, views, blender, calibration, smoothing, decision, four variants.
"""
