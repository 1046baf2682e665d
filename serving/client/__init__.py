"""The gRPC client of a served model."""
