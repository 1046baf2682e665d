"""Generates demo data sets."""
