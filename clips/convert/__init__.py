"""Conversion of videos, images, arrays and gridded files to clips: `framecast data convert`."""
