"""Bulk inference: `framecast infer`."""
