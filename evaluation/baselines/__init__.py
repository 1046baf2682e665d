"""Reference forecasts that a model is compared with."""
