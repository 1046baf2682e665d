"""Opens variables of gridded files: dimensions, times, scale and missing values by the conventions of the field."""
