"""ClipExampleGen: reads clips, validates every frame, and splits the clips by recording."""
