"""Config in; network out: its source, weights, layers, frozen parts and outputs. Read `building.py` first."""
