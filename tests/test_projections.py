"""The pictures: right way round for every stored orientation, at one scale, steady, and showing what was removed."""

import itertools

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform
from PIL import Image
from scipy import ndimage as ndi

from inference.projections import (
    REMOVED_VIEWS,
    SIZE,
    THUMBNAIL,
    VIEW_NAMES,
    render_views,
    save_views,
    slice_views,
    surface,
)
from inference.projections.canvas import BACKGROUND
from inference.projections.scene import GRID_MM, build
from inference.volumes import from_array, read_volume

ALL_CODES = [
    "".join(codes)
    for axes in itertools.permutations(("LR", "PA", "IS"))
    for codes in itertools.product(*axes)
]
PIXELS_PER_MM = SIZE[0] / 240


def painted_head(zooms=(2.0, 2.5, 3.0), level=800.0, noise=0.0, seed=0):
    """A toy head: an egg with a nose in front, an ear on the right only, and marks inside; (data, zooms)."""
    extent = np.array([200.0, 230.0, 210.0])
    shape = np.round(extent / zooms).astype(int)
    x, y, z = np.meshgrid(
        *[(np.arange(n) + 0.5) * s for n, s in zip(shape, zooms, strict=True)], indexing="ij"
    )
    x, y, z = x - 100, y - 110, z - 105

    def ball(cx, cy, cz, rx, ry, rz):
        away = np.sqrt(((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 + ((z - cz) / rz) ** 2)
        return np.clip((1 - away) * min(rx, ry, rz) / 2 + 0.5, 0, 1)

    head = np.maximum(ball(0, 0, 0, 70, 92, 95), ball(0, 92, -25, 10, 18, 14))  # egg and nose
    head = np.maximum(head, ball(72, -5, -20, 12, 10, 22))  # the right ear
    data = level * head
    data += level * (
        ball(35, 0, 0, 14, 14, 14) - 0.6 * ball(0, 45, 0, 14, 14, 14) + ball(0, 0, 55, 10, 10, 10)
    )
    grain = np.random.default_rng(seed).normal(0, noise, (2, *data.shape))
    return np.hypot(data + grain[0], grain[1]), zooms


@pytest.fixture(scope="module")
def head():
    return from_array(*painted_head())


@pytest.fixture(scope="module")
def views(head):
    return render_views(head)


def grey(image):
    return np.asarray(image.convert("L"), float)


def shape_of(image):
    """Where something other than background and marks is drawn: the largest part of the picture."""
    rgb = np.asarray(image, float) / 255
    drawn = ndi.binary_opening(np.abs(rgb - BACKGROUND).max(axis=2) > 0.06, iterations=4)
    labels, _ = ndi.label(drawn)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return labels == sizes.argmax()


def columns(image, rows=slice(None)):
    return np.flatnonzero(shape_of(image)[rows].any(axis=0))


def test_every_view_is_there_at_one_size(views):
    assert set(views) == set(VIEW_NAMES)
    assert {image.size for image in views.values()} == {SIZE}


@pytest.fixture(scope="module")
def reference(head):
    scene = build(head)
    return surface.cast(scene.field, 0), np.asarray(slice_views.render("axial_orbit", head, scene))


@pytest.mark.parametrize("codes", ALL_CODES)
def test_every_stored_orientation_gives_the_same_pictures(tmp_path, head, reference, codes):
    turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(codes))
    stored = nib.apply_orientation(head.data, turn)
    path = tmp_path / "turned.nii"
    nib.save(nib.Nifti1Image(stored, head.affine @ inv_ornt_aff(turn, head.data.shape)), path)
    volume = read_volume(path)
    scene = build(volume)
    hit = surface.cast(scene.field, 0)

    assert np.allclose(volume.zooms, head.zooms, atol=1e-4)
    assert np.array_equal(hit.seen, reference[0].seen)
    assert np.allclose(hit.depth[hit.seen], reference[0].depth[hit.seen], atol=0.02)
    assert np.abs(np.asarray(slice_views.render("axial_orbit", volume, scene)) - reference[1]).max() <= 2


def test_sides_of_the_surface_views(views):
    """The nose points to the left seen from the left, to the right from the right; the right ear is on R."""
    front, left, right = (columns(views[n]) for n in ("front", "left", "right"))
    middle = SIZE[0] / 2
    assert middle - front[0] > front[-1] - middle + 5  # the ear, on the subject's right
    back_mm = 12.0
    assert abs((SIZE[0] - left[-1]) / PIXELS_PER_MM - back_mm) < 6
    assert abs(right[0] / PIXELS_PER_MM - back_mm) < 6
    assert left[0] < SIZE[0] - left[-1] + 30
    rows = np.flatnonzero(
        shape_of(views["left"])[:, left[0] + 8]
    )  # the tip of the nose lies below the middle
    assert rows.mean() > SIZE[1] * 0.4


def test_obliques_mirror_each_other_in_a_symmetric_head():
    data, zooms = painted_head()
    half = np.maximum(data, data[::-1])
    field = build(from_array(half, zooms)).field
    left, right = (surface.cast(field, angle) for angle in (40, -40))
    assert np.mean(left.seen != right.seen[:, ::-1]) < 0.005
    both = left.seen & right.seen[:, ::-1]
    assert np.median(np.abs(left.depth - right.depth[:, ::-1])[both]) < 0.1
    assert abs(np.flatnonzero(left.seen.any(axis=0)).mean() - 95.5) > 1  # turned, not seen from the front


def brightest(image):
    """(column, row) of the brightest place inside the middle of the picture."""
    smooth = ndi.gaussian_filter(grey(image), 6)
    return np.unravel_index(smooth.argmax(), smooth.shape)[::-1]


def test_sides_of_the_slices(views):
    """The bright ball on the subject's right is left of the midline; the bright ball near the vertex is up."""
    assert brightest(views["coronal_temporal"])[0] < SIZE[0] / 2 + 10
    _, row = brightest(views["sagittal_mid"])
    assert row < SIZE[1] * 0.35
    assert "A" in slice_views.SIDES[0][0]
    nose = columns(views["sagittal_mid"])
    assert nose[0] / PIXELS_PER_MM < 25  # front to the left


def test_axial_slice_has_the_front_on_top():
    data, zooms = painted_head()
    volume = from_array(data, zooms)
    image = slice_views.render("axial_orbit", volume, build(volume))
    inside = ndi.binary_erosion(shape_of(image), iterations=30)
    dark = np.where(inside, ndi.gaussian_filter(grey(image), 5), 255)
    row, column = np.unravel_index(dark.argmin(), dark.shape)
    rows = np.flatnonzero(inside.any(axis=1))
    assert row < rows.mean() - 60  # the dark ball lies 45 mm in front of the centre
    assert abs(column - SIZE[0] / 2) < 10


def test_scale_is_the_same_in_mm_for_every_voxel_size():
    sizes = []
    for zooms in ((2.0, 2.0, 2.0), (1.5, 3.0, 2.0), (2.0, 2.0, 5.0)):
        seen = surface.cast(build(from_array(*painted_head(zooms))).field, 90).seen
        sizes.append((np.ptp(np.flatnonzero(seen.any(axis=0))), np.ptp(np.flatnonzero(seen.any(axis=1)))))
    sizes = np.array(sizes) * GRID_MM
    assert np.ptp(sizes, axis=0).max() < 6
    assert abs(sizes[0, 1] - 190) < 6  # the egg is 190 mm high


def test_the_head_hangs_on_vertex_and_back_when_the_face_is_gone(head):
    data = head.data.copy()
    data[:, 70:, :40] = 0
    whole, cut = build(head), build(from_array(data, head.zooms))
    assert np.abs(whole.corner - cut.corner).max() < 2.6


@pytest.mark.parametrize(
    ("level", "noise", "offset"), [(800, 0, 0), (800, 40, 0), (90, 4, 0), (3000, 100, 500)]
)
def test_no_air_noise_around_the_head(level, noise, offset):
    data, zooms = painted_head(level=level, noise=noise)
    field = build(from_array(data + offset, zooms)).field
    clean = build(from_array(*painted_head(level=level))).field
    assert np.mean((field > 0.5) != (clean > 0.5)) < 0.01


def test_a_face_filled_with_a_constant_is_seen_as_removed():
    data, zooms = painted_head(noise=15)
    data = np.round(data).astype(np.int16)
    filled, zero = data.copy(), data.copy()
    filled[:, 68:, :40], zero[:, 68:, :40] = 400, 0
    filled, zero = build(from_array(filled, zooms)), build(from_array(zero, zooms))
    assert np.mean((filled.field > 0.5) != (zero.field > 0.5)) < 0.01


def test_thick_slices_leave_no_stairs():
    """Along the smooth top of an egg with 5 mm sagittal slices the depth changes without jumps."""
    data, zooms = painted_head((5.0, 1.0, 1.0))
    hit = surface.cast(build(from_array(data, zooms)).field, 0)
    line = hit.depth[80, 70:122]  # across the forehead
    assert np.isfinite(line).all()
    assert np.abs(np.diff(line, 2)).max() < 0.6


def test_normals_are_true_and_depth_is_sub_voxel(head):
    hit = surface.cast(build(head).field, 0)
    normal = hit.normal[hit.seen]
    assert np.allclose(np.linalg.norm(normal, axis=1), 1, atol=1e-3)
    row, column = 60, 96
    slope = (hit.depth[row + 2, column] - hit.depth[row - 2, column]) / (4 * GRID_MM)
    n = hit.normal[row, column]
    assert abs(n[2] / n[1] + slope) < 0.12  # a surface that comes nearer further down looks up


def test_pictures_do_not_change_from_run_to_run(head, views):
    again = render_views(head)
    assert all(again[name].tobytes() == views[name].tobytes() for name in views)


def test_removed_voxels_are_red_and_ghosted(head):
    data = head.data.copy()
    data[:, 75:, :40] = 0
    views = render_views(from_array(data, head.zooms), original=head)
    assert set(views) == {*VIEW_NAMES, *REMOVED_VIEWS, *(f"removed_{name}" for name in slice_views.PLACES)}

    def red(image):
        rgb = np.asarray(image, int)
        return (rgb[..., 0] > rgb[..., 1] + 60) & (rgb[..., 0] > 90)

    assert red(views["removed_front"]).sum() > 2000
    assert red(views["removed_sagittal_mid"])[:, : SIZE[0] // 3].sum() > 2000
    assert not red(views["removed_sagittal_mid"])[:, SIZE[0] // 2 :].any()
    assert not red(views["front"]).any()


def test_only_what_is_named_removed_shows_the_original(head):
    data = head.data.copy()
    data[:, 75:, :40] = 0
    left = from_array(data, head.zooms)
    views, alone = render_views(left, original=head), render_views(left)
    same = {
        name for name, image in views.items() if name in alone and image.tobytes() == alone[name].tobytes()
    }
    assert same == set(VIEW_NAMES)
    assert {name for name in views if name not in alone} == {n for n in views if n.startswith("removed_")}


def test_brain_outline_is_bright_where_the_cut_came_near(head):
    brain = np.zeros(head.data.shape, bool)
    brain[25:75, 30:70, 30:60] = True
    data = head.data.copy()
    data[:, 71:, :45] = 0
    image = np.asarray(render_views(from_array(data, head.zooms), head, brain)["sagittal_mid"], int)
    warning = (slice_views.WARNING * 255).astype(int)
    close = np.abs(image - warning).max(axis=2) < 6
    assert close.sum() > 50
    assert not close[:, SIZE[0] // 2 :].any()
    with pytest.raises(ValueError, match="does not fit"):
        render_views(head, head, brain[1:])


def test_an_original_on_another_grid_is_ignored(head):
    other = from_array(head.data[1:], head.zooms)
    assert set(render_views(head, original=other)) == set(VIEW_NAMES)


def test_hardly_anything_in_view_still_renders():
    data = np.zeros((30, 30, 30), np.float32)
    data[10, 10, 10] = 5
    assert set(render_views(from_array(data, (2, 2, 2)))) == set(VIEW_NAMES)


def test_files_and_thumbnails(tmp_path, views):
    paths = save_views(tmp_path / "pictures", {"front": views["front"]})
    full, small = paths["front"]
    assert Image.open(full).size == SIZE
    assert Image.open(small).size == THUMBNAIL
    assert small.stat().st_size < full.stat().st_size < 60_000
