"""Reads recordings from videos, image folders, arrays, gridded files, MNIST digits and TensorFlow Datasets."""
