"""Estimates the motion between frames and warps frames along it; imports Keras only.

    motion = estimate_motion(frames)  # (batch, time, height, width, 2), pixels per frame
    next_frame = warp(frames[:, -1], motion[:, -1])

Block matching at half resolution, a soft minimum over all shifts up to a limit, finds the motion to a few pixels.
Lucas-Kanade steps (Lucas & Kanade 1981) at full resolution refine it to a fraction of a pixel. Nothing is learned, so
the estimate also works for motions that no training clip shows.
"""

import itertools

import numpy as np
from keras import ops

PAIRS = 3  # Pairs of frames averaged for one motion: fewer are noisier, more react later to a change of motion.
_MAX_SHIFT = 6  # Pixels at half resolution.
_SHIFTS = range(-_MAX_SHIFT, _MAX_SHIFT + 1)
_BLOCK = 17  # Side of the averaging window at half resolution.
_STRIDE = 4  # Distance between block centres at half resolution.
_SHARPNESS = 10.0  # Of the soft minimum over shifts; tuned on the training days of the radar clips.
_WINDOW = 33  # Side of the Lucas-Kanade window in pixels.
_STEPS = 2
_MAX_STEP = 2.0  # Pixels; the linearisation of a step is invalid beyond.
_MIN_GRADIENT = 1e-4  # Squared gradient added to the diagonal, so that areas without texture keep their motion.


def estimate_motion(frames):
    """Estimates the motion from the previous frame to each frame, averaged over the last `PAIRS` pairs of frames.

    Args:
        frames: `(batch, time, height, width, channel)` float32 in [0, 1], finite.

    Returns:
        `(batch, time, height, width, 2)` float32, pixels per frame down and to the right; 0 for the first frame.
    """
    frames = ops.mean(frames, axis=-1)
    batch, time, height, width = ops.shape(frames)
    # The last frame is repeated, so that a single frame also has a pair; the motion of that pair is dropped.
    frames = ops.concatenate([frames, frames[:, -1:]], axis=1)
    motion = _refine(frames, _match(frames))[:, :time]
    return ops.reshape(motion, (batch, time, height, width, 2))


def warp(frames, motion):
    """Moves frames by bilinear interpolation; pixels from outside the frame repeat its edge.

    Args:
        frames: `(batch, height, width, channel)`.
        motion: `(batch, height, width, 2)` float32, pixels down and to the right.

    Returns:
        Shape and dtype of `frames`; pixel `p` is `frames` at `p - motion[p]`.
    """
    return make_warp(motion)(frames)


def make_warp(motion):
    """Returns `warp` for one motion as a function of frames, which computes the pixel positions only once."""
    batch, height, width, _ = ops.shape(motion)
    rows = ops.cast(ops.arange(height), "float32")[None, :, None]
    columns = ops.cast(ops.arange(width), "float32")[None, None, :]
    y = ops.clip(rows - motion[..., 0], 0.0, ops.cast(height - 1, "float32"))
    x = ops.clip(columns - motion[..., 1], 0.0, ops.cast(width - 1, "float32"))
    top, left = ops.floor(y), ops.floor(x)
    down, right = (y - top)[..., None], (x - left)[..., None]
    top, left = ops.cast(top, "int32"), ops.cast(left, "int32")
    bottom, far = ops.minimum(top + 1, height - 1), ops.minimum(left + 1, width - 1)
    # Positions in one list of pixels over the batch, because a plain gather is fastest.
    first = ops.arange(batch)[:, None, None] * (height * width)
    corners = [first + row * width + column for row in (top, bottom) for column in (left, far)]

    def move(frames):
        pixels = ops.reshape(frames, (batch * height * width, ops.shape(frames)[-1]))
        top_left, top_right, bottom_left, bottom_right = (ops.take(pixels, corner, axis=0) for corner in corners)
        across, along = ops.cast(right, frames.dtype), ops.cast(down, frames.dtype)
        above = top_left * (1 - across) + top_right * across
        below = bottom_left * (1 - across) + bottom_right * across
        return above * (1 - along) + below * along

    return move


def gaussian_blurs(frames, sigmas):
    """Blurs frames by Gaussians of ascending width, each computed from the previous one.

    Weights of pixels outside the frame are dropped and the others rescaled to a sum of 1.

    Args:
        frames: `(batch, height, width, channel)`.
        sigmas: Ascending, in pixels; 0 is no blur.

    Returns:
        A list of blurred frames, shape of `frames`, one per sigma.
    """
    blurred, last = [], 0.0
    ones = ops.ones_like(frames[:1, ..., :1])
    for sigma in sigmas:
        if sigma:
            # Variances of successive Gaussians add up.
            kernel = _gaussian((sigma**2 - last**2) ** 0.5)
            frames = _convolve(frames, kernel) / _convolve(ones, kernel)
        blurred.append(frames)
        last = sigma
    return blurred


def _gaussian(sigma):
    radius = max(1, round(3 * sigma))
    offsets = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 * (offsets / sigma) ** 2)
    return (weights / weights.sum()).astype("float32")


def _convolve(frames, kernel):
    batch, height, width, channels = ops.shape(frames)
    frames = ops.reshape(ops.transpose(frames, (0, 3, 1, 2)), (batch * channels, height, width, 1))
    for shape in ((-1, 1, 1, 1), (1, -1, 1, 1)):
        weights = ops.convert_to_tensor(kernel.reshape(shape))
        frames = ops.conv(frames, weights, padding="same", data_format="channels_last")
    return ops.transpose(ops.reshape(frames, (batch, channels, height, width)), (0, 2, 3, 1))


def _match(frames):
    """Matches blocks with every shift of the previous frame; returns `(batch, time, height, width, 2)`."""
    batch, time, height, width = ops.shape(frames)
    half = _half_resolution(ops.reshape(frames, (batch * time, height, width, 1)))
    _, rows, columns, _ = ops.shape(half)
    half = ops.reshape(half, (batch, time, rows, columns))
    shifts = list(itertools.product(_SHIFTS, repeat=2))
    now, past = half[:, 1:, ..., None], _shift(half[:, :-1])
    inside = _shift(ops.ones((1, 1, rows, columns)))
    costs = [ops.square(now - shifted) * mask for shifted, mask in zip(past, inside, strict=True)]
    costs = ops.reshape(ops.concatenate(costs, axis=-1), (batch * (time - 1), rows, columns, len(shifts)))
    coverage = ops.reshape(ops.concatenate(inside, axis=-1), (1, rows, columns, len(shifts)))
    cost = _box(costs, _BLOCK, _STRIDE) / (_box(coverage, _BLOCK, _STRIDE) + 1e-3)
    _, rows, columns, _ = ops.shape(cost)
    cost = ops.reshape(cost, (batch, time - 1, rows, columns, len(shifts)))
    cost = _average_pairs(cost)
    best = ops.min(cost, axis=-1, keepdims=True)
    weights = ops.softmax(-_SHARPNESS * (cost - best) / (best + 2e-5), axis=-1)
    motion = ops.matmul(weights, ops.convert_to_tensor(2.0 * np.array(shifts, "float32")))
    motion = ops.pad(motion, [[0, 0], [1, 0], [0, 0], [0, 0], [0, 0]])
    motion = ops.repeat(ops.repeat(motion, 2 * _STRIDE, axis=2), 2 * _STRIDE, axis=3)[:, :, :height, :width]
    smooth = _box(ops.reshape(motion, (batch * time, height, width, 2)), 2 * _BLOCK - 1)
    return ops.reshape(smooth, (batch, time, height, width, 2))


def _shift(frames):
    """Returns `(batch, time, rows, columns, shift right)` for each shift down; pixels from outside are 0."""
    rows, columns = ops.shape(frames)[2:]
    edge = [_MAX_SHIFT, _MAX_SHIFT]
    frames = ops.pad(frames, [[0, 0], [0, 0], edge, edge])
    # All shifts right first, because 13 + 13 slices make a much smaller graph than 13 * 13.
    right = [frames[..., _MAX_SHIFT - shift : _MAX_SHIFT - shift + columns] for shift in _SHIFTS]
    frames = ops.stack(right, axis=-1)
    return [frames[:, :, _MAX_SHIFT - shift : _MAX_SHIFT - shift + rows] for shift in _SHIFTS]


def _refine(frames, motion):
    """Refines `motion` by Lucas-Kanade steps, each the least-squares motion of a window."""
    batch, time, height, width = ops.shape(frames)
    motion, now, past = motion[:, 1:], _earlier(frames[:, 1:]), _earlier(frames[:, :-1])
    for _ in range(_STEPS):
        # The earlier pairs are warped by the motion of the newest.
        flat = ops.reshape(ops.stack([motion] * PAIRS), (PAIRS * batch * (time - 1), height, width, 2))
        warped = warp(past, flat)
        middle, change = (warped + now)[..., 0] / 2, (now - warped)[..., 0]
        down, right = _difference(middle, 1), _difference(middle, 2)
        products = ops.stack([down * down, down * right, right * right, -down * change, -right * change], axis=-1)
        products = ops.reshape(products, (PAIRS, batch * (time - 1), height, width, 5))
        total = sum(products[age] for age in range(PAIRS))
        a, b, c, d, e = (part[..., 0] for part in ops.split(_box(total, _WINDOW), 5, axis=-1))
        a, c = a + _MIN_GRADIENT, c + _MIN_GRADIENT
        step = ops.stack([c * d - b * e, a * e - b * d], axis=-1) / (a * c - b * b)[..., None]
        step = ops.clip(step, -_MAX_STEP, _MAX_STEP)
        motion += ops.reshape(step, (batch, time - 1, height, width, 2))
    return ops.pad(motion, [[0, 0], [1, 0], [0, 0], [0, 0], [0, 0]])


def _earlier(frames):
    """Returns each of `(batch, time, height, width)` with the `PAIRS - 1` before it, `(pair * batch * time, ..., 1)`.

    Missing frames are zeros, which add nothing to the sums over pairs.
    """
    batch, time, height, width = ops.shape(frames)
    padded = ops.pad(frames, [[0, 0], [PAIRS - 1, 0], [0, 0], [0, 0]])
    earlier = ops.stack([padded[:, PAIRS - 1 - age : PAIRS - 1 - age + time] for age in range(PAIRS)])
    return ops.reshape(earlier, (PAIRS * batch * time, height, width, 1))


def _average_pairs(cost):
    """Averages `(batch, pair, ...)` over each pair and up to `PAIRS - 1` pairs before it."""
    pairs = ops.shape(cost)[1]
    count = ops.minimum(ops.arange(pairs) + 1, PAIRS)
    padded = ops.pad(cost, [[0, 0], [PAIRS - 1, 0], [0, 0], [0, 0], [0, 0]])
    total = sum(padded[:, age : age + pairs] for age in range(PAIRS))
    return total / ops.cast(count, cost.dtype)[None, :, None, None, None]


def _half_resolution(frames):
    _, height, width, _ = ops.shape(frames)
    frames = ops.pad(frames, [[0, 0], [0, height % 2], [0, width % 2], [0, 0]])
    return ops.average_pool(frames, 2, 2, "valid", data_format="channels_last")


def _difference(frames, axis):
    """Returns central differences of `(batch, height, width)`; at the edges half the one-sided difference."""
    size = ops.shape(frames)[axis]
    after = ops.take(frames, ops.minimum(ops.arange(size) + 1, size - 1), axis=axis)
    before = ops.take(frames, ops.maximum(ops.arange(size) - 1, 0), axis=axis)
    return (after - before) / 2


def _box(values, side, stride=1):
    """Averages over windows of `side` and then of half of it, counting only pixels inside the frame."""
    ones = ops.ones_like(values[:1, ..., :1])
    total, count = (_box_sum(x, side, stride) for x in (values, ones))
    return total / count


def _box_sum(values, side, stride):
    for size, step in ((side, 1), (side // 2 + 1, stride)):
        edge = size // 2
        pad = [[0, 0], [edge, edge], [0, 0], [0, 0]]
        values = ops.average_pool(ops.pad(values, pad), (size, 1), (step, 1), "valid", data_format="channels_last")
        pad = [[0, 0], [0, 0], [edge, edge], [0, 0]]
        values = ops.average_pool(ops.pad(values, pad), (1, size), (1, step), "valid", data_format="channels_last")
    return values
