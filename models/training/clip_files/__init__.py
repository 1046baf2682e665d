"""Files of transformed clips: their content, and random access in a shuffled order."""
