"""Computes radially averaged power spectra of frames, in TensorFlow ops.

In a frame x of H rows and W columns with n known pixels, the others 0, the wave of k cycles along the rows' axis and l
along the columns' is `1 / sqrt((k / H)**2 + (l / W)**2)` pixels long and has the power

    P(k, l) = |sum over r, c of x[r, c] * exp(-2j * pi * (k * r / H + l * c / W))|**2 / n,

so that white noise of variance s has the power s at every wavelength. The power of a band of
`spectrum_metrics.WAVELENGTHS` is the mean of P over the waves in all directions whose length is within a quarter of an
octave of it (Ruzanski and Chandrasekar 2011, IEEE Transactions on Geoscience and Remote Sensing 49). P and the mean are
those of pySTEPS' `rapsd`, which has rings of one cycle in place of bands. The frame's mean and waves above 152 pixels
are in no band. The shortest band ends at 1.68 pixels, where all waves are oblique. The frame is not tapered: a jump
between opposite borders has power at every wavelength, in truth and forecast alike.
"""

from collections.abc import Mapping

import tensorflow as tf

from framecast.evaluation.metrics.forecast import FORECASTS
from framecast.evaluation.metrics.spectrum import FIELDS, OUTPUTS, WAVELENGTHS

_BANDS = len(WAVELENGTHS)

# In squares of the pixel range, far below the power of float32's quantisation (3e-16). Power below it is rounding of
# the transform and counts as 0.
_ROUNDING = 1e-20


def frame_spectra(truth: tf.Tensor, known: tf.Tensor, forecasts: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Returns the power of one frame by wavelength, of the truth and of each forecast.

    Computed in float64, because a frame's mean exceeds its shortest waves by more than float32's precision.

    Args:
        truth: `(height, width, channel)` float32 in [0, 1]; any value, NaN too, where not known.
        known: bool of that shape. Unknown pixels are set to 0 in truth and forecasts alike.
        forecasts: float32 of that shape, each of `forecast_metrics.FORECASTS`; clipped to [0, 1]. The power of NaN is
            NaN.

    Returns:
        For each of `OUTPUTS`, float64 `(band,)`: `spectra`, the number of channels with a known pixel, 0 where the
        frame has no wave in the band; `power<field>`, the sum over these channels.
    """
    fields = tf.stack([truth, *(tf.clip_by_value(forecasts[name], 0.0, 1.0) for name in FORECASTS)])
    fields = tf.cast(tf.where(known, fields, tf.zeros_like(fields)), tf.float64)
    power, waves = _sums_by_band(tf.transpose(fields, [0, 3, 1, 2]))
    pixels = tf.reduce_sum(tf.cast(known, tf.float64), axis=[0, 1])
    power = tf.math.divide_no_nan(power, waves[:, None, None] * pixels)
    power = tf.reduce_sum(tf.where(power < _ROUNDING, tf.zeros_like(power), power), axis=2)
    counts = tf.cast(waves > 0, tf.float64) * tf.reduce_sum(tf.cast(pixels > 0, tf.float64))
    return dict(zip(OUTPUTS, [counts, *tf.unstack(power, num=len(FIELDS), axis=1)], strict=True))


def _sums_by_band(fields: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Sums the squares of a transform over the waves of each band.

    Args:
        fields: `(field, channel, height, width)` float64.

    Returns:
        `(band, field, channel)` and the number of waves, `(band,)`; float64.
    """
    shape = tf.shape(fields)
    bands, weights = _half_plane(shape[2], shape[3])
    transform = tf.signal.rfft2d(fields)
    squares = (tf.square(tf.math.real(transform)) + tf.square(tf.math.imag(transform))) * weights

    def by_band(values):
        # The last segment takes waves that are too long; negative segments are left out.
        return tf.math.unsorted_segment_sum(values, bands, _BANDS + 1)[:_BANDS]

    sums = by_band(tf.transpose(tf.reshape(squares, [-1, tf.size(bands)])))
    return tf.reshape(sums, [_BANDS, shape[0], shape[1]]), by_band(tf.reshape(weights, [-1]))


def _half_plane(height: tf.Tensor, width: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the bands of the waves of a real field's transform, `(height, width // 2 + 1)`.

    Returns:
        `(bands, weights)`: bands int32 `(height * (width // 2 + 1),)`, -1 for waves shorter than all bands, the number
        of bands for longer ones; weights float64 `(height, width // 2 + 1)`, 2 where a wave represents its mirror image
        too, else 1.
    """
    rows, columns = tf.range(height), tf.range(width // 2 + 1)
    by_rows, by_columns = (
        tf.cast(cycles, tf.float64) / tf.cast(size, tf.float64)
        for cycles, size in ((tf.minimum(rows, height - rows), height), (columns, width))
    )
    # No wave is on the edge of a band, because squared frequencies are rational and squared edges are not.
    squared = tf.square(by_rows)[:, None] + tf.square(by_columns)
    octaves = -tf.math.log(squared) / tf.math.log(tf.constant(2.0, tf.float64))  # Twice the octaves of the wavelength.
    places = tf.cast(tf.clip_by_value(tf.round(octaves - 2), -1.0, float(_BANDS)), tf.int32)
    single = tf.logical_or(columns == 0, 2 * columns == width)
    weights = tf.where(single, tf.constant(1.0, tf.float64), tf.constant(2.0, tf.float64))
    return tf.reshape(places, [-1]), tf.tile(weights[None], [height, 1])
