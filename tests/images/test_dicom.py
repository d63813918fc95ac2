"""DICOM files look as a viewer shows them; pydicom's own processing is the yardstick."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.pixels.processing import apply_voi_lut
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

from pipeline.images.decoding import decode
from pipeline.images.read_as import ReadAs

GRAY = np.random.default_rng(0).integers(0, 4096, (20, 30), dtype=np.uint16)


def dataset(pixels: np.ndarray, stored: int = 12, **elements: Any) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["test"])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    frames = pixels.ndim == 3 and pixels.shape[2] != 3
    file.Rows, file.Columns = pixels.shape[1:3] if frames else pixels.shape[:2]
    if frames:
        file.NumberOfFrames = len(pixels)
    colour = pixels.ndim == 3 and not frames
    file.SamplesPerPixel = 3 if colour else 1
    file.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        file.PlanarConfiguration = 0
    file.BitsAllocated = pixels.dtype.itemsize * 8
    file.BitsStored, file.HighBit = stored, stored - 1
    file.PixelRepresentation = int(pixels.dtype.kind == "i")
    for name, value in elements.items():
        setattr(file, name, value)
    file.PixelData = pixels.tobytes()
    return file


def write(path: Path, file: Dataset) -> Path:
    stream = io.BytesIO()
    file.save_as(stream, enforce_file_format=True)
    path.write_bytes(stream.getvalue())
    return path


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize("center, width", [(2000, 1000), ([1500, 9], [700, 8])])
def test_the_files_window_is_that_of_pydicom(tmp_path: Path, function: str, center: Any, width: Any) -> None:
    file = dataset(GRAY, WindowCenter=center, WindowWidth=width, VOILUTFunction=function)
    found = decode(write(tmp_path / "a.dcm", file), None, ReadAs(1))[..., 0]
    assert found.dtype == np.uint16
    assert np.abs(found / 65535 - apply_voi_lut(GRAY, file) / 4095).max() < 1e-4


def test_monochrome1_is_inverted(tmp_path: Path) -> None:
    plain = decode(write(tmp_path / "a.dcm", dataset(GRAY)), None)
    inverted = decode(write(tmp_path / "b.dcm", dataset(GRAY, PhotometricInterpretation="MONOCHROME1")), None)
    assert plain.shape == (20, 30, 3) and plain.min() == 0 and plain.max() == 65535
    assert np.abs(plain.astype(int) + inverted - 65535).max() <= 1


def test_values_are_rescaled_before_the_window(tmp_path: Path) -> None:
    """A CT's numbers become Hounsfield units, which data.window is in."""
    values = np.arange(-1000, 1000, dtype=np.int16).reshape(40, 50)
    file = dataset(values, stored=16, RescaleSlope="2", RescaleIntercept="-24", WindowCenter=0, WindowWidth=10)
    found = decode(write(tmp_path / "a.dcm", file), None, ReadAs(1, (-100, 300)))[..., 0]
    assert np.abs(found / 65535 - ((values * 2.0 - 24 + 100) / 400).clip(0, 1)).max() < 1e-4


def test_colour_and_eight_bits_stay(tmp_path: Path) -> None:
    rgb = np.random.default_rng(1).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    assert (decode(write(tmp_path / "a.dcm", dataset(rgb, stored=8)), None) == rgb).all()
    gray = rgb[..., 0].copy()
    gray[0, :2] = 0, 255
    found = decode(write(tmp_path / "b.dcm", dataset(gray, stored=8)), None)
    assert found.dtype == np.uint8 and (found == gray[..., None]).all()


def test_the_first_of_several_frames(tmp_path: Path) -> None:
    frames = np.stack([GRAY, GRAY[::-1]])
    one, several = write(tmp_path / "a.dcm", dataset(GRAY)), write(tmp_path / "b.dcm", dataset(frames))
    assert (decode(one, None) == decode(several, None)).all()


def test_damage_and_a_missing_library_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.dcm", dataset(GRAY))
    whole = path.read_bytes()
    path.write_bytes(whole[:-300])
    with pytest.raises(ValueError, match="cannot be decoded"):
        decode(path, None)
    path.write_bytes(whole)
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(ValueError, match=r"pip install 'foldline\[dicom\]'"):
        decode(path, None)
