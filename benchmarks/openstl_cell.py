"""Defines OpenSTL's ConvLSTM cell in PyTorch; needs .venv-peers."""

import torch


class OpenSTLCell(torch.nn.Module):
    """Runs one ConvLSTM step with one convolution of the input and one of `h`.

    Args:
        inputs: Channels of the input.
        filters: Channels of `h` and `c`.
        kernel: Side of the kernels in pixels.
    """

    def __init__(self, inputs, filters, kernel):
        super().__init__()
        self.filters = filters
        self.of_input = torch.nn.Conv2d(inputs, 4 * filters, kernel, padding=kernel // 2, bias=False)
        self.of_h = torch.nn.Conv2d(filters, 4 * filters, kernel, padding=kernel // 2, bias=False)

    def forward(self, x, h, c):
        """Returns the new `h` and `c`, each `(batch, filters, height, width)`."""
        i, f, g, o = torch.split(self.of_input(x) + self.of_h(h), self.filters, dim=1)
        c = torch.sigmoid(f + 1) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c
