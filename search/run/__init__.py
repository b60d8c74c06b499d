"""A sweep from its plan to its end: trials on Ray, their early stops, progress, and going on after an interruption."""
