"""The only reader of volumes: a file becomes a canonical array with its geometry, or a VolumeError."""

import gzip
import hashlib
import math
import os
import struct
import zlib
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import nibabel as nib
import numpy as np
from isal import isal_zlib
from nibabel.filebasedimages import ImageFileError
from nibabel.fileholders import FileHolder
from nibabel.freesurfer.mghformat import MGHError
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation
from nibabel.spatialimages import HeaderDataError

from inference.gzipped import DamagedGzip, decompressed, inflated

EXTENSIONS = (".nii", ".nii.gz", ".mgz", ".mgh")
MAX_FILE_BYTES = 1 << 30
MAX_VOXELS = 512**3  # what a site that sets no QC_MAX_VOXELS reads at most
MAX_ITEM_BYTES = 8
MOST_RATIO = 1032  # deflate never packs more bytes than these into one
MOST_SCALING = 1e38
ZOOM_RANGE_MM = (0.05, 25.0)
GZIP_MAGIC = b"\x1f\x8b"
HEADER_BYTES = 540  # enough for NIfTI-1 (348) and NIfTI-2 (540)
MGH_HEADER = struct.Struct(">7i")  # version, four dimensions, type, degrees of freedom
MGH_ITEM_BYTES = {0: 1, 1: 4, 3: 4, 4: 2}


class VolumeError(Exception):
    """A file that cannot be used as a head volume; `reason` is a plain sentence for people."""

    def __init__(self, path, reason):
        super().__init__(f"{path}: {reason}")
        self.path = str(path)
        self.reason = reason

    def __reduce__(self):
        return type(self), (self.path, self.reason)


@dataclass(frozen=True, eq=False)
class Stored:
    """Geometry and voxel type as the file holds them, before any reordering of axes."""

    shape: tuple[int, int, int]
    affine: np.ndarray  # (4, 4)
    dtype: np.dtype


@dataclass(frozen=True, eq=False)
class Volume:
    """A 3-D image in closest-canonical order: axis 0 to the right, 1 to the front, 2 up.

    `data` (X, Y, Z) is read-only, native integers or float32, scaling applied, all values finite;
    it may be a strided view. `zooms` (3,) in mm and `affine` (4, 4) belong to that array.
    """

    data: np.ndarray
    zooms: np.ndarray
    affine: np.ndarray
    path: str = ""
    notes: tuple[str, ...] = ()
    stored: Stored | None = None


def read_volume(path, *, file: BinaryIO | None = None) -> Volume:
    """Read one head volume; raise VolumeError with the reason for anything that is not one.

    file: what was opened already; `path` then only names it.
    """
    path = Path(path)
    name = path.name.lower()
    if not name.endswith(EXTENSIONS):
        raise VolumeError(path, f"not a supported file type ({', '.join(EXTENSIONS)})")
    blob = _file_bytes(path) if file is None else bytes_of(path, file)
    if name.endswith((".mgz", ".mgh")):
        header, voxels, affine, notes = _read_mgh(path, blob, zipped=blob[:2] == GZIP_MAGIC)
    else:
        try:
            header, voxels, affine, notes = _read_nifti(path, blob, zipped=name.endswith(".gz"))
        except DamagedGzip as error:
            raise VolumeError(path, str(error)) from error
    stored = Stored(tuple(voxels.shape), affine, header.get_data_dtype().newbyteorder("="))
    values, value_notes = _usable_values(path, voxels)
    return _canonical(values, affine, path, notes + value_notes, stored)


def most_voxels() -> int:
    """The voxel limit of this site; checked at the start by its settings, asked before anything is allocated.

    Reading takes at most 12 bytes a voxel (8 as stored, 4 as read) beside the file itself.
    """
    return int(os.environ.get("QC_MAX_VOXELS", "").strip() or MAX_VOXELS)


def content_hash(path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    try:
        with open(path, "rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError as error:
        raise VolumeError(path, os_reason(error)) from error


def from_array(data, zooms=(1.0, 1.0, 1.0), affine=None, path="") -> Volume:
    """A Volume from an array that is already right, front, up; zooms in mm, or a whole affine."""
    affine = np.diag([*zooms, 1.0]) if affine is None else np.asarray(affine, float)
    data = np.asarray(data).view()
    data.setflags(write=False)  # the caller's own stays as it is
    values, notes = _usable_values(path, data)
    return _canonical(values, affine, path, notes, Stored(tuple(values.shape), affine, values.dtype))


# --- bytes ------------------------------------------------------------------------------------------


def os_reason(error: OSError) -> str:
    """Why a file cannot be read, in plain words."""
    match error:
        case FileNotFoundError():
            return "the file does not exist"
        case PermissionError():
            return "no permission to read the file"
        case IsADirectoryError():
            return "is a folder, not a file"
    return f"the file cannot be read ({error.strerror or error})"


def _file_bytes(path):
    try:
        with path.open("rb") as file:
            return bytes_of(path, file)
    except OSError as error:
        raise VolumeError(path, os_reason(error)) from error


def bytes_of(path, file: BinaryIO) -> bytes:
    """All bytes of an opened file, up to the most there may be. Raises VolumeError."""
    try:
        size = file.seek(0, os.SEEK_END)
        if size > MAX_FILE_BYTES:
            raise VolumeError(path, f"the file is larger than {MAX_FILE_BYTES >> 20} MiB")
        file.seek(0)
        blob = file.read(size)
    except OSError as error:
        raise VolumeError(path, os_reason(error)) from error
    if not blob:
        raise VolumeError(path, "the file is empty")
    return blob


# --- NIfTI ------------------------------------------------------------------------------------------


def _read_nifti(path, blob, zipped):
    if zipped != (blob[:2] == GZIP_MAGIC):
        wrong = "ends in .gz but is not gzip-compressed" if zipped else "is gzip-compressed but not named .gz"
        raise VolumeError(path, f"the name and the content disagree: the file {wrong}")
    header = _nifti_header(path, inflated(blob, HEADER_BYTES) if zipped else blob[:HEADER_BYTES])
    dtype, shape = _dtype(path, header), _shape(path, header)
    offset = float(header["vox_offset"]) or header.single_vox_offset
    if not int(header["sizeof_hdr"]) <= offset <= MAX_FILE_BYTES:  # False for NaN
        raise VolumeError(path, f"corrupt header: voxel data said to start at byte {offset:g}")
    offset = int(offset)
    count = _voxel_count(path, shape)
    total = offset + count * dtype.itemsize
    _require_bytes(path, len(blob) * MOST_RATIO if zipped else len(blob), total)
    content = decompressed(blob, total) if zipped else blob
    _require_bytes(path, len(content), total)
    affine, notes = _nifti_affine(path, header)
    raw = np.frombuffer(content, dtype, count, offset).reshape(shape, order="F")
    return header, _scaled(path, header, raw), affine, notes


def _nifti_header(path, block):
    for kind in (nib.Nifti1Header, nib.Nifti2Header):
        size = kind.sizeof_hdr
        if len(block) < size or size not in struct.unpack("<i", block[:4]) + struct.unpack(">i", block[:4]):
            continue
        header = kind(block[:size], check=False)
        if header["magic"].item()[:3] in (b"n+1", b"n+2"):
            return header
        raise VolumeError(path, "not a single-file NIfTI volume (Analyze or .hdr/.img pair)")
    raise VolumeError(path, "not a volume: there is no NIfTI header in this file")


def _dtype(path, header):
    try:
        dtype = header.get_data_dtype()
    except (HeaderDataError, KeyError) as error:
        raise VolumeError(path, "corrupt header: unknown voxel type") from error
    if dtype.fields:
        raise VolumeError(path, "a colour image (RGB), not a volume of intensities")
    if dtype.kind == "c":
        raise VolumeError(path, "complex numbers, not intensities; save the magnitude")
    if dtype.kind not in "iuf" or not 0 < dtype.itemsize <= MAX_ITEM_BYTES:
        raise VolumeError(path, f"voxel type {dtype} is not supported")
    return dtype


def _shape(path, header):
    """(X, Y, Z); further axes must have length one."""
    try:
        shape = tuple(int(n) for n in header.get_data_shape())
    except HeaderDataError as error:
        raise VolumeError(path, "corrupt header: no sensible dimensions") from error
    if len(shape) < 3 or sorted(shape[:3])[0] == 1:
        raise VolumeError(path, f"not a 3-D volume (dimensions {_times(shape)})")
    if any(n < 1 for n in shape):
        raise VolumeError(path, f"corrupt header: dimensions {_times(shape)}")
    frames = int(np.prod(shape[3:], dtype=object))
    if frames > 1:
        raise VolumeError(path, f"a series of {frames} volumes ({_times(shape)}); give one volume a file")
    return shape[:3]


def _times(shape):
    return " x ".join(str(n) for n in shape) or "none"


def _voxel_count(path, shape):
    count, most = math.prod(shape), most_voxels()
    if count > most:
        raise VolumeError(path, f"too large: {_times(shape)} voxels (QC_MAX_VOXELS allows {most})")
    return count


def _require_bytes(path, there, total):
    if there < total:
        raise VolumeError(path, f"truncated: {there} of the {total} bytes its header asks for can be there")


def _scaled(path, header, raw):
    """Values with scl_slope and scl_inter applied, still in file order."""
    try:
        slope, inter = header.get_slope_inter()
    except HeaderDataError as error:
        raise VolumeError(path, "corrupt header: scaling is not a finite number") from error
    if slope is None or (slope, inter) == (1.0, 0.0):
        return raw
    if not abs(float(slope)) + abs(float(inter)) <= MOST_SCALING:
        raise VolumeError(path, "corrupt header: scaling is beyond any intensity")
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is told afterwards
        values = raw.astype(np.float32)
        values *= np.float32(slope)
        values += np.float32(inter)
    return values


def _nifti_affine(path, header):
    """The first usable of sform, qform and voxel sizes, with a note when it is not what the file claims."""
    notes = []
    for name, code, get in (
        ("sform", "sform_code", header.get_sform),
        ("qform", "qform_code", header.get_qform),
    ):
        if int(header[code]) <= 0:
            continue
        try:
            affine = get()
        except (HeaderDataError, ValueError, np.linalg.LinAlgError):
            affine = None
        if affine is not None and _sane_affine(affine):
            return affine, tuple(notes)
        notes.append(f"the {name} in the header is unusable and was ignored")
    zooms = np.abs(np.asarray(header["pixdim"][1:4], float))
    if not np.all(np.isfinite(zooms)) or not _zooms_in_range(zooms):
        raise VolumeError(path, f"no usable voxel size in the header ({_times(header['pixdim'][1:4])} mm)")
    notes.append("no orientation in the header: voxel sizes alone were used, left and right may be swapped")
    return header.get_base_affine(), tuple(notes)


def _zooms_in_range(zooms):
    return bool(np.all((zooms >= ZOOM_RANGE_MM[0]) & (zooms <= ZOOM_RANGE_MM[1])))


def _sane_affine(affine):
    """Finite, with voxel sizes of a head scan and axes that span space."""
    if affine.shape != (4, 4) or not np.all(np.isfinite(affine)):
        return False
    zooms = np.linalg.norm(affine[:3, :3], axis=0)
    return _zooms_in_range(zooms) and abs(np.linalg.det(affine[:3, :3] / zooms)) > 0.05


# --- MGH --------------------------------------------------------------------------------------------


def _require_small_mgh(path, blob, zipped):
    """Check the dimensions first: nibabel makes room for them and looks behind them, whatever they are."""
    head = inflated(blob, MGH_HEADER.size) if zipped else blob[: MGH_HEADER.size]
    version, *rest = MGH_HEADER.unpack(head) if len(head) == MGH_HEADER.size else (0,)
    if version == 1:
        count = _voxel_count(path, [abs(n) for n in rest[:4]])
        total = count * MGH_ITEM_BYTES.get(rest[4], MAX_ITEM_BYTES)
        if len(blob) * (MOST_RATIO if zipped else 1) < total:
            raise EOFError("truncated")


def _read_mgh(path, blob, zipped):
    try:
        _require_small_mgh(path, blob, zipped)
        file = gzip.GzipFile(fileobj=BytesIO(blob)) if zipped else BytesIO(blob)
        image = nib.freesurfer.MGHImage.from_file_map({"image": FileHolder(str(path), file)})
        _dtype(path, image.header)
        shape = _shape(path, image.header)
        voxels = np.asarray(image.dataobj).reshape(shape, order="F")
        affine = np.asarray(image.affine, float)
    except (
        *(OSError, EOFError, ValueError, KeyError, OverflowError, DamagedGzip, zlib.error),
        *(isal_zlib.IsalError, ImageFileError, HeaderDataError, MGHError),
        TypeError,  # a header that is cut off
    ) as error:
        raise VolumeError(path, f"not a readable MGH volume ({error})") from error
    if not _sane_affine(affine):
        raise VolumeError(path, "no usable geometry in the header")
    return image.header, voxels, affine, ()


# --- values and axes --------------------------------------------------------------------------------


def _usable_values(path, voxels):
    """Native integers or float32, finite and not constant, with notes on what had to be replaced."""
    if voxels.dtype.kind == "f" or voxels.dtype.itemsize > 4:
        with np.errstate(over="ignore"):
            voxels = voxels.astype(np.float32, copy=not voxels.flags.writeable)
    elif not voxels.dtype.isnative:
        voxels = voxels.astype(voxels.dtype.newbyteorder("="))
    notes = ()
    low, high = voxels.min(), voxels.max()  # NaN in, NaN out
    if not (np.isfinite(low) and np.isfinite(high)):
        wrong = ~np.isfinite(voxels)
        bad = int(np.count_nonzero(wrong))
        if bad == voxels.size:
            raise VolumeError(path, "holds no finite number (all NaN or infinite)")
        voxels[wrong] = 0
        notes = (f"{bad} of {voxels.size} voxels were not finite and were set to 0",)
        low, high = voxels.min(), voxels.max()
    if low == high:
        raise VolumeError(path, f"every voxel has the same value ({low:g}): there is no image in it")
    return voxels, notes


def _canonical(values, affine, path, notes, stored):
    orientation = io_orientation(affine)
    turned = affine @ inv_ornt_aff(orientation, values.shape)
    data = apply_orientation(values, orientation)
    data.setflags(write=False)
    zooms = np.linalg.norm(turned[:3, :3], axis=0)
    return Volume(data, zooms, turned, str(path), tuple(notes), stored)


def with_data(volume: Volume, data: np.ndarray) -> Volume:
    """The same geometry with other values of the same shape."""
    if data.shape != volume.data.shape:
        raise ValueError(f"shape {data.shape} does not fit {volume.data.shape}")
    return replace(volume, data=data)
