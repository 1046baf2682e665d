"""The Report component, and the evidence that it collects from artifacts."""
