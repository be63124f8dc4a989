"""Which voxels a defacing changed: the difference of two volumes on one grid, whatever the fill."""

import numpy as np

SAME = 0.03  # of the tissue median: rounding, recompression, interpolation noise
LIKE = 0.9  # correlation from which two images are one image on two scales


def same_grid(original, defaced) -> bool:
    """Equal shapes, and affines equal to a hundredth of a millimetre."""
    return original.data.shape == defaced.data.shape and np.allclose(
        original.affine, defaced.affine, atol=0.01
    )


def changed(original, defaced):
    """Bool (X, Y, Z): voxels that mean something else now; another scale of the whole file does not count.

    Filling with the minimum, with zero, with a constant or with noise, and blurring, all count.
    """
    before, after = original.data, defaced.data
    gain, shift = _scale_between(before, after)
    if (gain, shift) == (1.0, 0.0) and before.dtype == after.dtype and before.dtype.kind in "iu":
        return before != after
    return np.abs(after * np.float32(gain) + np.float32(shift) - before) > SAME * _tissue(before)


def _tissue(values):
    """Distance from the darkest level to the median of what is clearly brighter than the mean."""
    sample = values[::4, ::4, ::4].astype(np.float32)
    low = float(sample.min())
    return max(float(np.median(sample[sample > sample.mean()])) - low, 1e-6)


def _scale_between(before, after):
    """(gain, shift) that turns `after` into `before` where nothing was removed; (1, 0) if many are equal."""
    x = after[1::3, 1::3, 1::3].astype(np.float64).ravel()
    y = before[1::3, 1::3, 1::3].astype(np.float64).ravel()
    tissue = y > y.mean()
    x, y = x[tissue], y[tissue]
    if x.size < 50 or np.mean(x == y) > 0.3:
        return 1.0, 0.0
    keep = np.ones(x.size, bool)
    gain, shift = 1.0, 0.0
    for _ in range(6):  # trimmed least squares: what was removed drops out
        spread = np.var(x[keep])
        if spread <= 0:
            return 1.0, 0.0
        gain = float(np.cov(x[keep], y[keep])[0, 1] / spread)
        shift = float(y[keep].mean() - gain * x[keep].mean())
        off = np.abs(gain * x + shift - y)
        keep = off <= max(np.percentile(off, 60), 1e-9)
    if np.corrcoef(x[keep], y[keep])[0, 1] < LIKE:
        return 1.0, 0.0
    return (1.0, 0.0) if abs(gain - 1) < 1e-3 and abs(shift) < 1e-3 * np.ptp(y) else (gain, shift)
