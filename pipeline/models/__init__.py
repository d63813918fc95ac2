"""Config in; network out: its source, weights, layers, frozen parts and outputs.

Read `building.py` first: it makes a network of a model's config. `network.py` does so for a fold, and keeps weights.
"""
