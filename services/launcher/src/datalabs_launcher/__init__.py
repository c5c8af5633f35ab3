"""Labs: life cycle, admission, placement."""
