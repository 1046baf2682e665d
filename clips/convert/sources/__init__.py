"""Where clips come from: videos, folders of images, arrays, MNIST digits, gridded files, TensorFlow Datasets."""
