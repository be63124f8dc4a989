"""DeepDefacer's published network, its own weights run by torch, for `real_engines --deepdefacer model.hdf5`.

The file lies in the package `deepdefacer` 2.1.2 (Khazane et al., MIT licence). Reading it needs `pip install h5py`.
Nothing of it was trained on here: a tool that learnt its masks instead of registering a template.
"""

from functools import lru_cache

import nibabel as nib
import numpy as np
import torch
from scipy import ndimage as ndi
from torch.nn import functional

SIDE = 160
LEVELS = 4


@lru_cache(maxsize=1)
def layers(path):
    """{number: (weight (out, in, 3 axes), bias)} of its 24 convolutions."""
    import h5py

    found = {}
    with h5py.File(path) as stored:

        def collect(name, item):
            if name.endswith("kernel:0"):
                number = int(name.split("/")[-2].rsplit("_", 1)[1])
                weight = torch.from_numpy(item[()]).permute(4, 3, 0, 1, 2).contiguous()
                found[number] = weight, torch.from_numpy(item.parent["bias:0"][()])

        stored["model_weights"].visititems(collect)
    return found


def convolved(x, layer):
    """As its library does it: an even kernel is padded at the far end only."""
    weight, bias = layer
    size = weight.shape[-1]
    before, after = (size - 1) // 2, size // 2
    return functional.conv3d(functional.pad(x, [before, after] * 3), weight, bias)


@torch.no_grad()
def kept(picture, path):
    """(160, 160, 160) share of each cell that is kept, of a picture in 0-1 whose axes run right, front, up."""
    of = layers(path)
    numbers = iter(sorted(of))

    def step(x):
        return convolved(x, of[next(numbers)]).relu()

    x, skipped = torch.from_numpy(picture)[None, None], []
    for level in range(LEVELS + 1):
        x = step(step(x))
        if level < LEVELS:
            skipped.append(x)
            x = functional.max_pool3d(x, 2)
    for skip in reversed(skipped):
        x = step(functional.interpolate(x, scale_factor=2.0))
        x = step(step(torch.cat([skip, x], dim=1)))
    x = step(x)
    return convolved(x, of[next(numbers)]).sigmoid()[0, 0].numpy()


def deface(source, target, path):
    """What the program does with a file whose axes run right, front, up."""
    image = nib.load(source)
    data = np.asanyarray(image.dataobj).astype(np.float32)
    small = ndi.zoom(data, [SIDE / n for n in data.shape], order=1)
    small = (small - small.min()) / (small.max() - small.min() + 1e-7)
    mask = (kept(small, path) >= 0.5).astype(np.float32)
    whole = ndi.zoom(mask, [n / SIDE for n in data.shape], order=1)
    nib.save(nib.Nifti1Image((data * whole).astype(np.int16), image.affine), target)
