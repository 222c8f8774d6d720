"""Files of a finished model, and the proof of what is in them."""
