"""Decodes still images, image stacks and animations."""
