"""Reading volumes: the right array in every orientation, and a plain reason for every unusable file."""

import contextlib
import gzip
import itertools
import struct
import tracemalloc

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform

from inference.volumes import VolumeError, content_hash, from_array, read_volume

SHAPE, ZOOMS = (5, 7, 9), (0.8, 1.5, 3.0)
ALL_CODES = [
    codes for axes in itertools.permutations(("LR", "PA", "IS")) for codes in itertools.product(*axes)
]


@pytest.fixture
def canonical():
    """An array with unequal axes and no two equal values, right-front-up, with its affine."""
    affine = np.diag([*ZOOMS, 1.0])
    affine[:3, 3] = (-3, -5, 11)
    return np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE), affine


def save(path, data, affine=None, **fields):
    image = nib.Nifti1Image(data, np.diag([1, 2, 3, 1.0]) if affine is None else affine)
    for name, value in fields.items():
        image.header[name] = value
    nib.save(image, path)
    return path


def noise(shape=SHAPE, dtype=np.int16):
    return np.random.default_rng(1).integers(0, 200, shape).astype(dtype)


def rewrite_header(path, **fields):
    """Change header fields of an uncompressed file behind nibabel's back."""
    blob = bytearray(path.read_bytes())
    header = nib.Nifti1Header(bytes(blob[:348]), check=False)
    for name, value in fields.items():
        header[name] = value
    path.write_bytes(header.binaryblock + bytes(blob[348:]))
    return path


@pytest.mark.parametrize("codes", ALL_CODES, ids="".join)
def test_every_orientation_reads_as_the_same_canonical_array(tmp_path, canonical, codes):
    data, affine = canonical
    turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(codes))
    stored = nib.apply_orientation(data, turn)
    path = save(tmp_path / "turned.nii.gz", stored, affine @ inv_ornt_aff(turn, data.shape))

    volume = read_volume(path)

    assert np.array_equal(volume.data, data)
    assert np.allclose(volume.affine, affine)
    assert np.allclose(volume.zooms, ZOOMS)
    assert volume.stored.shape == stored.shape
    assert volume.notes == ()


def test_there_are_48_orientations():
    assert len(set(ALL_CODES)) == 48


@pytest.mark.parametrize("dtype", ["u1", "<i2", ">i2", "<i4", "<f4", ">f4", "<f8", ">f8", "<u2"])
def test_voxel_types_and_byte_orders(tmp_path, canonical, dtype):
    data = (canonical[0] % 250).astype(dtype)
    header = nib.Nifti1Header(endianness=">" if dtype[0] == ">" else "<")
    header.set_data_dtype(np.dtype(dtype))
    path = tmp_path / "typed.nii"
    nib.save(nib.Nifti1Image(data, canonical[1], header), path)

    volume = read_volume(path)

    assert np.array_equal(volume.data, data.astype(float))
    assert volume.data.dtype.isnative
    assert volume.data.dtype == np.float32 or volume.data.dtype.kind in "iu"


def test_scaling_is_applied(tmp_path, canonical):
    image = nib.Nifti1Image(canonical[0], canonical[1])
    image.header.set_slope_inter(0.5, -10)
    path = tmp_path / "scaled.nii.gz"
    nib.save(image, path)
    expected = nib.load(path).get_fdata()

    assert np.allclose(read_volume(path).data, expected)
    assert expected.min() == -10


def test_nifti2_and_mgz_agree_with_nifti1(tmp_path, canonical):
    data, affine = canonical
    nib.save(nib.Nifti2Image(data, affine), tmp_path / "two.nii.gz")
    nib.save(nib.MGHImage(data, affine), tmp_path / "free.mgz")
    for name in ("two.nii.gz", "free.mgz"):
        volume = read_volume(tmp_path / name)
        assert np.array_equal(volume.data, data), name
        assert np.allclose(volume.affine, affine, atol=1e-4), name


def test_gzip_file_of_several_members_is_read_whole(tmp_path):
    plain = save(tmp_path / "plain.nii", noise())
    blob = plain.read_bytes()
    many = tmp_path / "many.nii.gz"
    many.write_bytes(b"".join(gzip.compress(blob[i : i + 200]) for i in range(0, len(blob), 200)))

    assert np.array_equal(read_volume(many).data, read_volume(plain).data)


def test_one_frame_series_is_a_volume(tmp_path):
    assert read_volume(save(tmp_path / "one.nii", noise((5, 6, 7, 1, 1)))).data.shape == (5, 6, 7)


def test_some_nan_voxels_become_zero_with_a_note(tmp_path):
    data = noise(dtype=np.float32)
    data[0, 0, 0], data[1, 1, 1] = np.nan, np.inf
    volume = read_volume(save(tmp_path / "some.nii", data))

    assert volume.data.min() == 0
    assert np.isfinite(volume.data).all()
    assert "2 of 315 voxels" in volume.notes[0]


def test_missing_orientation_falls_back_to_voxel_sizes_with_a_note(tmp_path):
    path = rewrite_header(save(tmp_path / "bare.nii", noise()), sform_code=0, qform_code=0)
    volume = read_volume(path)

    assert np.allclose(volume.zooms, (1, 2, 3))
    assert "no orientation" in volume.notes[0]


def test_degenerate_sform_falls_back_to_qform(tmp_path):
    path = save(tmp_path / "flat.nii", noise())
    rewrite_header(path, srow_x=[0, 0, 0, 0], sform_code=1, qform_code=1)
    volume = read_volume(path)

    assert np.allclose(volume.zooms, (1, 2, 3))
    assert "sform" in volume.notes[0]


def test_data_cannot_be_written_to(tmp_path):
    volume = read_volume(save(tmp_path / "a.nii.gz", noise()))
    with pytest.raises(ValueError, match="read-only"):
        volume.data[0, 0, 0] = 1


def test_content_hash_is_of_the_bytes(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    assert content_hash(tmp_path / "x").startswith("ba7816bf")
    with pytest.raises(VolumeError, match="does not exist"):
        content_hash(tmp_path / "y")


def test_from_array_keeps_zooms():
    assert np.allclose(from_array(noise(), ZOOMS).zooms, ZOOMS)


# --- bad input --------------------------------------------------------------------------------------


def refusal(path):
    with pytest.raises(VolumeError) as caught:
        read_volume(path)
    assert str(path) in str(caught.value)
    return caught.value.reason


def written(path, blob):
    path.write_bytes(blob)
    return path


def test_missing_folder_and_empty(tmp_path):
    assert "does not exist" in refusal(tmp_path / "gone.nii.gz")
    (tmp_path / "folder.nii").mkdir()
    assert "folder" in refusal(tmp_path / "folder.nii")
    assert "empty" in refusal(written(tmp_path / "empty.nii.gz", b""))


def test_names_that_do_not_fit(tmp_path):
    blob = save(tmp_path / "good.nii", noise()).read_bytes()
    assert "not a supported file type" in refusal(written(tmp_path / "head.jpg", blob))
    assert "not gzip-compressed" in refusal(written(tmp_path / "named.nii.gz", blob))
    assert "gzip-compressed but not named" in refusal(written(tmp_path / "named.nii", gzip.compress(blob)))


def test_not_a_volume(tmp_path):
    assert "not a volume" in refusal(written(tmp_path / "text.nii", b"hello " * 200))
    assert "not a volume" in refusal(written(tmp_path / "text.nii.gz", gzip.compress(b"hello " * 200)))
    assert "MGH" in refusal(written(tmp_path / "text.mgz", b"hello " * 200))
    assert "not a volume" in refusal(written(tmp_path / "short.nii", b"\x5c\x01\0\0"))


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.98])
def test_truncated(tmp_path, keep):
    blob = save(tmp_path / "good.nii", noise((20, 21, 22))).read_bytes()
    zipped = gzip.compress(blob)
    assert "truncated" in refusal(written(tmp_path / "cut.nii.gz", zipped[: int(len(zipped) * keep)]))
    assert "truncated" in refusal(written(tmp_path / "cut.nii", blob[: int(len(blob) * keep)]))
    half = gzip.compress(blob[: int(len(blob) * keep)])
    assert "truncated" in refusal(written(tmp_path / "half.nii.gz", half))


@pytest.mark.parametrize("keep", [1, 10, 89, 283, 300])
def test_truncated_mgh(tmp_path, keep):
    nib.save(nib.freesurfer.MGHImage(noise(), np.eye(4)), tmp_path / "good.mgh")
    cut = (tmp_path / "good.mgh").read_bytes()[:keep]
    assert "not a readable MGH" in refusal(written(tmp_path / "cut.mgh", cut))
    assert "not a readable MGH" in refusal(written(tmp_path / "cut.mgz", gzip.compress(cut)))


def test_corrupt_gzip(tmp_path):
    blob = bytearray(gzip.compress(save(tmp_path / "good.nii", noise((20, 21, 22))).read_bytes()))
    blob[len(blob) // 2 : len(blob) // 2 + 40] = b"\xff" * 40
    assert refusal(written(tmp_path / "bad.nii.gz", bytes(blob))).startswith(("corrupt", "truncated"))


@pytest.mark.parametrize(
    ("shape", "words"),
    [((9, 8), "not a 3-D"), ((9, 8, 1), "not a 3-D"), ((5, 6, 7, 4), "series of 4 volumes")],
)
def test_wrong_number_of_axes(tmp_path, shape, words):
    assert words in refusal(save(tmp_path / "axes.nii.gz", noise(shape)))


def test_colour_and_complex(tmp_path):
    rgb = np.zeros(SHAPE, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    assert "colour" in refusal(save(tmp_path / "rgb.nii", rgb))
    assert "complex" in refusal(save(tmp_path / "complex.nii", noise(dtype=np.complex64)))


def test_no_image_in_it(tmp_path):
    assert "same value (0)" in refusal(save(tmp_path / "zero.nii.gz", np.zeros(SHAPE, np.int16)))
    assert "same value (7)" in refusal(save(tmp_path / "seven.nii.gz", np.full(SHAPE, 7, np.uint8)))
    assert "no finite number" in refusal(save(tmp_path / "nan.nii.gz", np.full(SHAPE, np.nan, np.float32)))


def test_headers_that_promise_too_much(tmp_path):
    path = rewrite_header(save(tmp_path / "big.nii", noise()), dim=[3, 30000, 30000, 30000, 1, 1, 1, 1])
    assert "too large" in refusal(path)
    path = rewrite_header(save(tmp_path / "minus.nii", noise()), dim=[3, -5, 7, 9, 1, 1, 1, 1])
    assert "dimensions" in refusal(path)


def peak_mib(work, *arguments):
    """What numpy and Python allocated at most, in MiB."""
    tracemalloc.start()
    try:
        work(*arguments)
        return tracemalloc.get_traced_memory()[1] >> 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["claims.nii", "claims.nii.gz", "claims.mgh", "claims.mgz"])
def test_a_small_file_with_a_great_claim_costs_nothing(tmp_path, name):
    """Also where the voxel limit of the site would let it through."""
    if "nii" in name:
        whole = rewrite_header(
            save(tmp_path / "a.nii", noise()), dim=[3, 500, 500, 500, 1, 1, 1, 1], datatype=64
        )
        blob = whole.read_bytes()
    else:
        nib.save(nib.freesurfer.MGHImage(noise(dtype=np.float32), np.eye(4)), tmp_path / "a.mgh")
        blob = (tmp_path / "a.mgh").read_bytes()
        blob = blob[:4] + struct.pack(">3i", 500, 500, 500) + blob[16:]
    path = written(tmp_path / name, gzip.compress(blob) if name.endswith("z") else blob)
    assert peak_mib(refusal, path) < 20


def test_a_site_sets_how_many_voxels_are_read(tmp_path, monkeypatch):
    monkeypatch.setenv("QC_MAX_VOXELS", str(5 * 7 * 9))
    assert read_volume(save(tmp_path / "fits.nii", noise())).data.size == 315
    for name in ("big.nii.gz", "big.mgz"):
        kind = nib.MGHImage if name.endswith("mgz") else nib.Nifti1Image
        nib.save(kind(noise((5, 7, 10)), np.diag([1, 2, 3, 1.0])), tmp_path / name)
        assert "too large: 5 x 7 x 10" in refusal(tmp_path / name)


@pytest.mark.parametrize("dtype", [np.float64, np.int16, np.uint8])
def test_reading_takes_at_most_twelve_bytes_a_voxel(tmp_path, dtype):
    image = nib.Nifti1Image(noise((64, 128, 128), dtype), np.diag([1, 2, 3, 1.0]))
    image.header.set_slope_inter(0.5, -10)
    nib.save(image, tmp_path / "a.nii.gz")
    assert (
        peak_mib(read_volume, tmp_path / "a.nii.gz")
        <= 12 + (tmp_path / "a.nii.gz").stat().st_size / 2**20 + 2
    )


@pytest.mark.parametrize("code", [1, 128, 1536, 1792, 2048, 2304, 777])
def test_voxel_types_that_are_no_intensities(tmp_path, code):
    path = rewrite_header(save(tmp_path / "t.nii", noise()), datatype=code)
    assert refusal(written(path, path.read_bytes() + bytes(20_000)))


@pytest.mark.parametrize(("slope", "inter"), [(np.inf, 0), (1e38, 1e38), (1e-45, np.nan), (3e38, -3e38)])
def test_scaling_beyond_any_intensity(tmp_path, slope, inter):
    path = rewrite_header(save(tmp_path / "s.nii", noise()), scl_slope=slope, scl_inter=inter)
    with contextlib.suppress(VolumeError):
        assert np.isfinite(read_volume(path).data).all()


def test_a_header_with_wrong_bytes_ends_in_a_volume_or_a_reason(tmp_path):
    random, blob = np.random.default_rng(3), save(tmp_path / "good.nii", noise()).read_bytes()
    for _ in range(800):
        wrong = bytearray(blob)
        for at in random.integers(0, 348, random.integers(1, 5)):
            wrong[at] = random.integers(0, 256)
        with contextlib.suppress(VolumeError):
            assert np.isfinite(read_volume(written(tmp_path / "wrong.nii", bytes(wrong))).data).all()


def test_gzip_bomb_is_not_unpacked(tmp_path):
    """A small file that unpacks to far more than its header states is read up to the header's size."""
    blob = save(tmp_path / "good.nii", noise()).read_bytes()
    path = written(tmp_path / "bomb.nii.gz", gzip.compress(blob + bytes(50_000_000)))
    assert path.stat().st_size < 100_000
    assert read_volume(path).data.shape == SHAPE


@pytest.mark.parametrize("pixdim", [0.0, np.nan, np.inf, 1000.0])
def test_no_usable_voxel_size(tmp_path, pixdim):
    path = save(tmp_path / "size.nii", noise())
    rewrite_header(path, pixdim=[1, pixdim, 1, 1, 0, 0, 0, 0], sform_code=0, qform_code=0)
    assert "voxel size" in refusal(path)


def test_unknown_voxel_type(tmp_path):
    assert "voxel type" in refusal(rewrite_header(save(tmp_path / "t.nii", noise()), datatype=777))


@pytest.mark.parametrize("offset", [np.nan, -5.0, 100.0, 1e20])
def test_nonsense_data_offset(tmp_path, offset):
    assert "corrupt header" in refusal(rewrite_header(save(tmp_path / "o.nii", noise()), vox_offset=offset))


def test_damage_within_the_compressed_data_is_never_read_as_a_head(tmp_path):
    path = save(tmp_path / "sound.nii.gz", noise())
    blob, sound, refused = path.read_bytes(), read_volume(path).data, 0
    assert "truncated" in refusal(written(tmp_path / "no_trailer.nii.gz", blob[:-8]))
    for at in np.linspace(60, len(blob) - 9, 60).astype(int):  # behind the name in the gzip header
        damaged = bytearray(blob)
        damaged[at] ^= 0x10
        try:
            found = read_volume(written(tmp_path / "damaged.nii.gz", bytes(damaged))).data
            np.testing.assert_array_equal(found, sound)  # bits behind the last code mean nothing
        except VolumeError:
            refused += 1
    assert refused >= 58
