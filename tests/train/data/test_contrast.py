from __future__ import annotations

import numpy as np
import pytest

from medsam_edge.modality import Modality
from medsam_edge_train.data import contrast
from medsam_edge_train.data.augment import Augmentation
from medsam_edge_train.data.contrast import bias_field, blunt, change_contrast, random_curve

CHANGES = ("CURVE_P", "INVERSION_P", "BIAS_P", "BLUNT_P", "COLOR_P")
GREY = np.linspace(0, 1, 24 * 24, dtype=np.float32).reshape(24, 24, 1)
COLOR = np.stack([GREY[..., 0], GREY[..., 0] ** 2, 1 - GREY[..., 0]], axis=-1)


def only(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Give the named changes probability 1, and the others 0."""
    for name in CHANGES:
        monkeypatch.setattr(contrast, name, float(name in names))


def test_nothing_changes_without_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch)
    assert np.array_equal(change_contrast(COLOR, np.random.default_rng(0)), COLOR)


def test_an_inversion(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, "INVERSION_P")
    assert np.allclose(change_contrast(COLOR, np.random.default_rng(0)), 1 - COLOR)


def test_a_curve_changes_equal_values_equally(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, "CURVE_P")
    image = np.round(GREY * 7) / 7
    changed = change_contrast(image, np.random.default_rng(0))
    assert all(np.ptp(changed[image == value]) == 0 for value in np.unique(image))
    assert np.abs(changed - image).max() > 0.02


def test_curves_are_smooth_and_some_fall() -> None:
    falls = []
    for seed in range(100):
        grey, curve = random_curve(np.random.default_rng(seed))
        assert (grey[0], grey[-1], curve.min(), curve.max()) == pytest.approx((0, 1, 0, 1))
        assert np.abs(np.diff(curve)).max() < 5 / 255
        falls.append(bool((np.diff(curve) < 0).any()))
    assert 5 < sum(falls) < 95


def test_a_bias_is_smooth_and_leaves_black_black(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, "BIAS_P")
    field = bias_field(64, np.random.default_rng(0))
    assert field.shape == (64, 64, 1)
    assert np.abs(np.diff(field[..., 0])).max() < 0.1 < np.ptp(field)
    image = np.ones((24, 24, 1), np.float32)
    image[:4] = 0
    changed = change_contrast(image, np.random.default_rng(0))
    assert not changed[:4].any() and changed.max() == pytest.approx(1) and np.ptp(changed[4:]) > 0.1


def test_a_lower_resolution_keeps_what_is_flat_and_softens_edges() -> None:
    image = np.zeros((64, 64, 1), np.float32)
    image[:, 32:] = 1
    for seed in range(10):
        changed = blunt(image, np.random.default_rng(seed))
        assert changed.shape == image.shape
        assert not changed[:, :26].any() and (changed[:, 38:] > 0.999).all()
    checks = (np.indices((64, 64)).sum(axis=0) % 2).astype(np.float32)[..., None]
    assert blunt(checks, np.random.default_rng(0)).std() < 0.4 < checks.std()


def test_grey_is_a_mean_of_the_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, "COLOR_P")
    grey = change_contrast(COLOR, np.random.default_rng(0))
    assert grey.shape == (24, 24, 1)
    assert (grey[..., 0] >= COLOR.min(axis=2) - 1e-6).all() and (grey[..., 0] <= COLOR.max(axis=2) + 1e-6).all()
    assert np.array_equal(change_contrast(GREY, np.random.default_rng(0)), GREY)


def test_a_colour_cast_scales_channels() -> None:
    image = np.ones((8, 8, 3), np.float32)
    casts = [change_contrast(image, np.random.default_rng(seed)) for seed in range(60)]
    tinted = [x for x in casts if x.shape[2] == 3 and np.ptp(x[0, 0]) > 0.01]
    assert tinted


@pytest.mark.parametrize("modality", [Modality.CT, Modality.ENDOSCOPY])
@pytest.mark.parametrize("shape", [(24, 24), (24, 24, 3)])
def test_values_stay_in_range_and_draws_can_be_repeated(modality: Modality, shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    for augmentation in (Augmentation(contrast=1.0), Augmentation(contrast=1.0, color_p=0.0, noise_p=0.0)):
        for seed in range(40):
            first, again = (augmentation.intensity(image, modality, np.random.default_rng(seed)) for _ in range(2))
            assert (first.dtype, first.shape) == (np.float32, (3, 24, 24))
            assert first.flags.c_contiguous and np.isfinite(first).all()
            assert first.min() >= 0 and first.max() <= 1
            assert np.array_equal(first, again)


def test_a_black_image_without_inversion_stays_black(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contrast, "INVERSION_P", 0.0)
    monkeypatch.setattr(contrast, "CURVE_P", 0.0)  # a curve that falls may begin above 0
    for seed in range(20):
        assert not change_contrast(np.zeros((8, 8, 3), np.float32), np.random.default_rng(seed)).any()


def test_the_share_of_changed_images(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, "INVERSION_P")
    image = np.array([[0, 0], [0, 255]], np.uint8)
    for share in (0.0, 0.5, 1.0):
        augmentation = Augmentation(color_p=0.0, noise_p=0.0, contrast=share)
        shown = [augmentation.intensity(image, Modality.CT, np.random.default_rng(seed)) for seed in range(60)]
        assert np.mean([plane[0, 0, 0] for plane in shown]) == pytest.approx(share, abs=0.2 if share == 0.5 else 0)
