"""Generated demo data sets."""
