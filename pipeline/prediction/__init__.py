"""Networks × views × images in; probabilities by id out, as fold<k>/{valid,test}.npz.

Read `predictor.py` first: one pass over the images for all networks and views. `stage.py` predicts a run's rows,
`new_images.py` any others; `predictions.py` is one file, `oof.py` joins those of a run by id.
"""
