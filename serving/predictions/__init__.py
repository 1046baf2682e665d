"""Turns model outputs for a clip into files: TFRecord, NetCDF, Parquet, npz and GIF."""
