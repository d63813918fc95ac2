"""A folder in; a first config out (`init.py`). Also the two examples (`example.py`)."""
