"""Pushed versions: labels, release, rollback, retention."""
