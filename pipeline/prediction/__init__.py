"""Networks × views × images in; probabilities by id out. Read `predictor.py` first."""
