"""The clip contract: feature names, the clip specification and the curated schema."""
