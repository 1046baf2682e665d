"""ConvLSTM layers, task models, preprocessing, the trainer and the export."""
