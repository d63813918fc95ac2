"""Fabricate the listed competitions: each one's files, names, columns and quirks, with small learnable pictures.

    truth = fabricate("aptos2019-blindness-detection", folder)

What a grader knows of the test rows is returned and never written: a test id as the sample submission writes
it -> a label, a list of labels, a number, or a list of 0 and 1 in the order of the sample's columns.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from competitions import cameras, medical, metadata, multilabel, named, tabled
from competitions.tabled import Truth

LAYOUTS: dict[str, Callable[[Path, np.random.Generator], Truth]] = {
    "aerial-cactus-identification": tabled.aerial_cactus,
    "aptos2019-blindness-detection": tabled.aptos,
    "cassava-leaf-disease-classification": tabled.cassava,
    "dog-breed-identification": tabled.dog_breed,
    "dogs-vs-cats-redux-kernels-edition": named.dogs_vs_cats,
    "herbarium-2020-fgvc7": metadata.herbarium_2020,
    "herbarium-2022-fgvc9": metadata.herbarium_2022,
    "imet-2020-fgvc7": multilabel.imet,
    "inaturalist-2019-fgvc6": metadata.inaturalist_2019,
    "iwildcam-2019-fgvc6": cameras.iwildcam_2019,
    "iwildcam-2020-fgvc7": cameras.iwildcam_2020,
    "leaf-classification": tabled.leaf,
    "petfinder-pawpularity-score": tabled.petfinder,
    "plant-pathology-2020-fgvc7": tabled.plant_pathology_2020,
    "plant-pathology-2021-fgvc8": multilabel.plant_pathology_2021,
    "plant-seedlings-classification": named.plant_seedlings,
    "ranzcr-clip-catheter-line-classification": multilabel.ranzcr,
    "rsna-breast-cancer-detection": medical.rsna_breast,
    "siim-isic-melanoma-classification": medical.siim_isic,
    "statoil-iceberg-classifier-challenge": metadata.statoil,
}


def fabricate(name: str, root: Path, seed: int = 0) -> Truth:
    """Write a competition into `root` and return the truth of its test rows; a seed gives the same pictures again."""
    root.mkdir(parents=True, exist_ok=True)
    return LAYOUTS[name](root, np.random.default_rng((seed, zlib.crc32(name.encode()))))
