"""Augmentation presets as lists of Albumentations transforms, in the YAML that a config takes.

- `none`: nothing is changed.
- `light`: few epochs, frozen backbones, images that are all alike: mirror, small shifts, brightness.
- `medium`: the default for photographs: wider shifts, colour, now and then a hole.
- `heavy`: long trainings of large models: crops, colour, blur and noise, warps, holes.
- `flat_light`, `flat_medium`, `flat_heavy`: the same for images without an up direction (satellite,
  microscope, leaves on a table, solar cells): all eight symmetries of the square instead of the mirror.
- `digits`, also named `text`: signs with an orientation: small affine changes, no mirror, the border's
  colour continued.

Mirrors must not change the label: take `digits` for signs, left and right hands, arrows. `size` of crops is
filled in by the engine. On images that are not square a quarter turn is resized back, which distorts it.
Presets are starting points: copy a list into the config to change it. On images of other channels than RGB
they leave out what changes hue and saturation.
"""

from __future__ import annotations

from typing import Any

import yaml

from pipeline.errors import lookup

Transforms = list[dict[str, Any]]

PARTS: dict[str, Transforms] = yaml.safe_load("""  # border_mode: 1 continues the border's colour, 4 mirrors
mirror:
  - HorizontalFlip: {p: 0.5}
symmetries:
  - SquareSymmetry: {p: 1.0}
light:
  - Affine: {scale: [0.95, 1.05], translate_percent: [-0.05, 0.05], rotate: [-7, 7], border_mode: 4, p: 0.5}
  - RandomBrightnessContrast: {brightness_limit: 0.1, contrast_limit: 0.1, p: 0.5}
medium:
  - Affine: {scale: [0.85, 1.15], translate_percent: [-0.0625, 0.0625], rotate: [-15, 15], border_mode: 4, p: 0.7}
  - OneOf:
      transforms:
        - RandomBrightnessContrast: {brightness_limit: 0.2, contrast_limit: 0.2, p: 1.0}
        - HueSaturationValue: {hue_shift_limit: 10, sat_shift_limit: 20, val_shift_limit: 10, p: 1.0}
        - RandomGamma: {gamma_limit: [80, 125], p: 1.0}
      p: 0.6
  - CoarseDropout: {num_holes_range: [1, 3], hole_height_range: [0.08, 0.2], hole_width_range: [0.08, 0.2], p: 0.25}
heavy:
  - RandomResizedCrop: {scale: [0.5, 1.0], ratio: [0.8, 1.25], p: 1.0}
  - Affine: {translate_percent: [-0.0625, 0.0625], rotate: [-25, 25], shear: [-8, 8], border_mode: 4, p: 0.5}
  - ColorJitter: {brightness: [0.7, 1.3], contrast: [0.7, 1.3], saturation: [0.7, 1.3], hue: [-0.05, 0.05], p: 0.7}
  - OneOf:
      transforms:
        - GaussianBlur: {sigma_limit: [0.3, 1.5], p: 1.0}
        - MotionBlur: {blur_limit: [3, 5], p: 1.0}
        - GaussNoise: {std_range: [0.02, 0.08], p: 1.0}
        - Downscale: {scale_range: [0.5, 0.9], p: 1.0}
      p: 0.3
  - OneOf:
      transforms:
        - GridDistortion: {distort_limit: [-0.2, 0.2], border_mode: 4, p: 1.0}
        - OpticalDistortion: {distort_limit: [-0.2, 0.2], border_mode: 4, p: 1.0}
      p: 0.2
  - CoarseDropout: {num_holes_range: [1, 4], hole_height_range: [0.1, 0.25], hole_width_range: [0.1, 0.25], p: 0.5}
digits:
  - Affine:
      {scale: [0.9, 1.1], translate_percent: [-0.08, 0.08], rotate: [-10, 10], shear: [-8, 8], border_mode: 1, p: 0.8}
""")

PRESETS: dict[str, Transforms] = {
    "none": [],
    **{name: PARTS["mirror"] + PARTS[name] for name in ("light", "medium", "heavy")},
    **{f"flat_{name}": PARTS["symmetries"] + PARTS[name] for name in ("light", "medium", "heavy")},
    "digits": PARTS["digits"],
    "text": PARTS["digits"],
}

COLOURLESS: dict[str, Transforms] = {  # what takes the place of transforms that need RGB
    "HueSaturationValue": [],
    "ColorJitter": [{"RandomBrightnessContrast": {"brightness_limit": 0.3, "contrast_limit": 0.3, "p": 0.7}}],
}


def preset(name: str, channels: int) -> Transforms:
    """Return a preset for images of so many channels; raise ValueError where there is none of that name."""
    listed = lookup(PRESETS, name, "preset")
    return listed if channels == 3 else _colourless(listed)


def _colourless(listed: Transforms) -> Transforms:
    found: Transforms = []
    for entry in listed:
        ((name, arguments),) = entry.items()
        if "transforms" in arguments:
            arguments = {**arguments, "transforms": _colourless(arguments["transforms"])}
        found += COLOURLESS.get(name, [{name: arguments}])
    return found
