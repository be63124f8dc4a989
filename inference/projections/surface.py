"""The surface of the head: orthographic, lit from the upper left, from sub-voxel depth and true normals.

A view is an angle about the vertical axis: 0 looks the face in the eye, 90 sees the left side of the head,
-90 the right. Image columns run to the viewer's right, rows down, both at GRID_MM; `canvas` enlarges.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import ndimage as ndi
from scipy import sparse

from .scene import GRID_MM, SHAPE

ANGLES = {"front": 0, "left": 90, "right": -90, "oblique_left": 40, "oblique_right": -40}
SURFACE = 0.5
LIGHT = np.array([-0.50, 0.62, 0.60]) / np.linalg.norm([-0.50, 0.62, 0.60])  # left, towards the viewer, up
SKIN = np.array([0.86, 0.81, 0.77])
CUT = np.array([0.60, 0.68, 0.76])


@dataclass(frozen=True)
class Hit:
    """What the rays of one view meet; all (213, 192), row 0 at the top.

    seen: bool. cover: densest place along the ray, 0.5 at the outline of the head.
    depth: mm from the front of the scene, inf where nothing is met.
    normal: (213, 192, 3) to the right of the picture, to the viewer, up. place: (213, 192, 3) scene index.
    """

    seen: np.ndarray
    cover: np.ndarray
    depth: np.ndarray
    normal: np.ndarray
    place: np.ndarray


def axes_of(angle):
    """Unit vectors in the plane (right, front) of the picture's right and of the way into it."""
    a = np.deg2rad(angle)
    across = np.array([-np.cos(a), -np.sin(a)])
    into = np.array([np.sin(a), -np.cos(a)])
    return np.round(across, 12), np.round(into, 12)


@lru_cache(maxsize=8)
def turning(angle):
    """Sparse (U*D, X*Y) bilinear weights that turn the plane (right, front) into (across, into)."""
    across, into = axes_of(angle)
    nx, ny = SHAPE[:2]
    u, d = np.meshgrid(np.arange(nx) - (nx - 1) / 2, np.arange(ny) - (ny - 1) / 2, indexing="ij")
    x = ((nx - 1) / 2 + across[0] * u + into[0] * d).ravel()
    y = ((ny - 1) / 2 + across[1] * u + into[1] * d).ravel()
    rows, columns, values = [], [], []
    x0, y0 = np.floor(x).astype(int), np.floor(y).astype(int)
    for dx in (0, 1):
        for dy in (0, 1):
            weight = np.abs(1 - dx - (x - x0)) * np.abs(1 - dy - (y - y0))
            keep = (x0 + dx >= 0) & (x0 + dx < nx) & (y0 + dy >= 0) & (y0 + dy < ny) & (weight > 0)
            rows.append(np.flatnonzero(keep))
            columns.append(((x0 + dx) * ny + y0 + dy)[keep])
            values.append(weight[keep])
    parts = (np.concatenate(values).astype(np.float32), (np.concatenate(rows), np.concatenate(columns)))
    return sparse.csr_array(parts, shape=(nx * ny, nx * ny))


def turned(field, angle):
    """A scene array seen from `angle`: (across, into, up)."""
    match angle:
        case 0:
            return field[::-1, ::-1]
        case 90:
            return field.transpose(1, 0, 2)[::-1]
        case -90:
            return field.transpose(1, 0, 2)[:, ::-1]
    nx, ny, nz = field.shape
    return (turning(angle) @ field.reshape(nx * ny, nz)).reshape(nx, ny, nz)


def cast(field, angle) -> Hit:
    """Where parallel rays first meet the surface of the head."""
    volume = turned(field, angle)
    solid = volume > SURFACE
    first = solid.argmax(axis=1)
    seen = np.take_along_axis(solid, first[:, None], 1)[:, 0]
    u, k = np.nonzero(seen)
    q = first[u, k]
    before = np.maximum(q - 1, 0)
    near, far = volume[u, before, k], volume[u, q, k]
    back = np.where(q > 0, (far - SURFACE) / np.maximum(far - near, 1e-6), 0.5)  # cells before the solid one
    normal = _lerp(_gradient(volume, u, before, k), _gradient(volume, u, q, k), 1 - back[:, None])
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-6)
    depth = np.full(seen.shape, np.inf, np.float32)
    depth[u, k] = (q - back + 0.5) * GRID_MM
    normals = np.zeros((*seen.shape, 3), np.float32)
    normals[u, k] = normal
    places = np.zeros((*seen.shape, 3), np.float32)
    places[u, k] = _scene_index(u, q - back, k, angle)
    cover = volume.max(axis=1)
    return Hit(*(_upright(image) for image in (seen, cover, depth, normals, places)))


def _gradient(volume, u, q, k):
    """Outward normal, not normalised, (N, 3) to the right, to the viewer, up, by central differences."""
    nu, nd, nk = volume.shape
    right = volume[np.maximum(u - 1, 0), q, k] - volume[np.minimum(u + 1, nu - 1), q, k]
    viewer = volume[u, np.minimum(q + 1, nd - 1), k] - volume[u, np.maximum(q - 1, 0), k]
    up = volume[u, q, np.maximum(k - 1, 0)] - volume[u, q, np.minimum(k + 1, nk - 1)]
    return np.stack([right, viewer, up], axis=1)


def _lerp(a, b, t):
    return a * (1 - t) + b * t


def _scene_index(u, d, k, angle):
    """(N, 3) scene index of points given as (across, into, up) of a view."""
    across, into = axes_of(angle)
    nx, ny = SHAPE[:2]
    u, d = u - (nx - 1) / 2, d - (ny - 1) / 2
    x = (nx - 1) / 2 + across[0] * u + into[0] * d
    y = (ny - 1) / 2 + across[1] * u + into[1] * d
    return np.stack([x, y, k.astype(float)], axis=1)


def _upright(image):
    """(across, up, ...) to rows from the top and columns from the left."""
    return np.swapaxes(image, 0, 1)[::-1]


def outward(hit, angle):
    """Normals in scene axes (right, front, up), (213, 192, 3)."""
    across, into = axes_of(angle)
    n = hit.normal
    x = n[..., 0] * across[0] - n[..., 1] * into[0]
    y = n[..., 0] * across[1] - n[..., 1] * into[1]
    return np.stack([x, y, n[..., 2]], axis=-1)


def sample(array, hit, angle, offset_mm=0.0):
    """Values of a scene array `offset_mm` outside (+) or behind (-) the surface; 0 off the scene."""
    place = hit.place + outward(hit, angle) * (offset_mm / GRID_MM)
    index = np.rint(place).astype(int)
    inside = hit.seen & np.all((index >= 0) & (index < SHAPE), axis=-1)
    index = np.where(inside[..., None], index, 0)
    return np.where(inside, array[index[..., 0], index[..., 1], index[..., 2]], 0)


def occlusion(hit):
    """How open a place lies, 0.45 to 1: places deeper than their neighbourhood get less of the sky."""
    depth = np.where(hit.seen, hit.depth, 0).astype(np.float32)
    open_sky = np.ones(depth.shape, np.float32)
    for sigma, strength in ((2.5, 0.055), (7.0, 0.022)):
        total = ndi.gaussian_filter(depth, sigma, truncate=2.5)
        share = ndi.gaussian_filter(hit.seen.astype(np.float32), sigma, truncate=2.5)
        lower = depth - total / np.maximum(share, 1e-3)
        open_sky -= strength * np.clip(lower, 0, 8)
    return np.clip(open_sky, 0.45, 1)


def shade(hit, colour=SKIN):
    """Lit colours (213, 192, 3), 0 to 1: key light from the upper left, sky, bounce, darker far away."""
    n = hit.normal
    key = np.clip(n @ LIGHT.astype(np.float32), 0, 1)
    sky = 0.5 + 0.5 * n[..., 2]
    facing = np.clip(n[..., 1], 0, 1)
    nearest = np.min(hit.depth[hit.seen]) if hit.seen.any() else 0.0
    distance = np.exp(-np.clip(np.where(hit.seen, hit.depth, 0) - nearest - 25, 0, None) / 260)
    rim = 0.07 * (1 - facing) ** 3
    lit = (0.16 + 0.15 * sky + 0.06 * facing + 0.60 * key + rim) * occlusion(hit) * distance
    halfway = LIGHT + np.array([0.0, 1.0, 0.0])
    shine = np.clip(n @ (halfway / np.linalg.norm(halfway)).astype(np.float32), 0, 1) ** 18 * 0.09
    return np.clip(lit[..., None] * colour + (shine * (lit > 0.1))[..., None], 0, 1).astype(np.float32)


def cut_share(scene, hit, angle):
    """0 to 1: how surely this is a cut: the edge of the field of view, or tissue against exact fill."""
    ahead = hit.place + outward(hit, angle) * (2.5 / GRID_MM)
    outside = np.any((ahead < scene.bounds[0]) | (ahead > scene.bounds[1]), axis=-1).astype(np.float32)
    if scene.fill is not None:
        filled = np.minimum(sample(scene.fill, hit, angle, 3.0), sample(scene.fill, hit, angle, 5.0))
        outside = np.maximum(outside, filled)
    share = ndi.gaussian_filter(np.where(hit.seen, outside, 0).astype(np.float32), 1.2)
    covered = ndi.gaussian_filter(hit.seen.astype(np.float32), 1.2)
    return np.clip((share / np.maximum(covered, 1e-3) - 0.55) / 0.3, 0, 1)


def evened(hit, cut):
    """Normals, on cut surfaces averaged over 5 mm: there the voxels of the mask would show as stairs."""
    wide = ndi.gaussian_filter(hit.normal, (2.2, 2.2, 0), truncate=2.5)
    mixed = _lerp(hit.normal, wide, cut[..., None])
    return mixed / np.maximum(np.linalg.norm(mixed, axis=-1, keepdims=True), 1e-6)
