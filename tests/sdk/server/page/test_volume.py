"""A volume on the real page: a box on a slice, the object followed, progress, cancel, other planes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk
from playwright.sync_api import expect

from medsam_edge.networks.model import Arrays, Model
from medsam_edge.segmenter import Segmenter
from medsam_edge.server.app import make_app
from medsam_edge.server.limits import Limits
from medsam_edge.server.service import Service
from tests.sdk.dicoms import series, slices
from tests.sdk.fake import SIZE, FakeEncoder, PromptedDecoder
from tests.sdk.server.conftest import VOLUME
from tests.sdk.server.page.hand import Hand, mask_of
from tests.sdk.server.running import TOKEN, running

pytestmark = pytest.mark.slow


NAME = "volume.nii.gz"


class HeldEncoder(FakeEncoder):
    """Encodes as many slices as it is given leave to."""

    def __init__(self) -> None:
        super().__init__(0)
        self.leave = threading.Semaphore(0)

    def infer(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        assert self.leave.acquire(timeout=60)
        return super().infer(inputs)


@pytest.fixture
def opened(hand: Hand) -> Hand:
    hand.page.get_by_role("button", name="Open", exact=True).click()
    hand.page.locator("#files").get_by_role("button", name=NAME).click()
    hand.opened(NAME)
    return hand


@pytest.fixture
def encoder() -> HeldEncoder:
    return HeldEncoder()


@pytest.fixture
def held(visit: Callable[..., Hand], encoder: HeldEncoder, folder: Path) -> Iterator[Hand]:
    """The page on a server whose encoder waits."""
    model = Model(encoder, PromptedDecoder(), SIZE, "held", SIZE, prompts=("box", "points", "mask"))
    service = Service(Segmenter(model), Limits(), folder / "more" / NAME)
    with running(make_app(service, TOKEN)) as url:
        yield visit(url)
        encoder.leave.release(1000)


def slices_of(found: dict[str, Any]) -> list[int]:
    return [region["slice"] for region in found["regions"]]


def test_a_box_on_a_slice_becomes_an_object(opened: Hand) -> None:
    page = opened.page
    page.locator("#modality").select_option("MR")
    expect(page.locator("#slices output")).to_have_text("Axial 3 / 5")
    opened.drag(30, 10, 44, 20)
    (found,) = opened.settled()
    assert found["box"] == [30, 10, 2, 44, 20, 3]
    assert slices_of(found) == [0, 1, 2, 3, 4]
    mask = mask_of(found["regions"][2])
    assert mask.sum() == 140 and mask[10:20, 30:44].all()
    expect(page.locator("#objects")).to_contain_text("slices 1–5")
    # 0.75 mm³ a voxel
    expect(page.locator(".details span[title]")).to_have_attribute("title", f"{found['size']:,} voxels")


def test_slices_scroll_with_wheel_keys_and_slider(opened: Hand) -> None:
    page, output = opened.page, opened.page.locator("#slices output")
    page.mouse.move(*opened.screen(32, 32))
    page.mouse.wheel(0, 100)
    expect(output).to_have_text("Axial 4 / 5")
    page.keyboard.press("PageDown")
    page.keyboard.press("PageDown")  # the last one stays
    expect(output).to_have_text("Axial 5 / 5")
    page.keyboard.press("[")
    expect(output).to_have_text("Axial 4 / 5")
    page.get_by_label("Slice", exact=True).fill("0")
    expect(output).to_have_text("Axial 1 / 5")
    expect(page.get_by_role("button", name="Previous slice")).to_be_disabled()


def test_other_planes_show_the_object(opened: Hand) -> None:
    page = opened.page
    opened.drag(30, 10, 44, 20)
    opened.settled()
    page.get_by_role("button", name="Coronal").click()
    expect(page.locator("#slices output")).to_have_text("Coronal 33 / 64")
    before = opened.color(37, 2)
    page.get_by_role("button", name="slices 11–20").click()  # where the object is
    expect(page.locator("#slices output")).to_have_text("Coronal 15 / 64")
    page.wait_for_timeout(500)
    red, _, blue = opened.color(37, 2)
    assert red > blue + 30 and (red, blue) != (before[0], before[2])
    outside = opened.color(10, 2)
    assert outside[0] == outside[2]
    _, top = opened.screen(0, 4)
    _, bottom = opened.screen(0, 0)
    assert top < bottom  # the head is up


def test_clicks_correct_a_slice_and_those_that_follow(opened: Hand) -> None:
    opened.drag(30, 10, 44, 20)
    opened.settled()
    opened.tool("Add")
    opened.page.keyboard.press("PageUp")
    opened.click(50, 15)
    (found,) = opened.settled()
    assert mask_of(found["regions"][1])[15, 50]
    opened.page.keyboard.press("Control+z")
    assert not mask_of(opened.settled()[0]["regions"][1])[15, 50]


def test_without_following_it_is_one_slice(opened: Hand) -> None:
    opened.page.get_by_label("Follow a new object").uncheck()
    opened.drag(30, 10, 44, 20)
    assert slices_of(opened.settled()[0]) == [2]
    opened.page.get_by_role("button", name="Follow through slices").click()
    opened.page.get_by_text("slices 1–5").wait_for()
    assert slices_of(opened.settled()[0]) == [0, 1, 2, 3, 4]


def test_a_whole_box_in_numbers(opened: Hand) -> None:
    page = opened.page
    page.get_by_role("button", name="Box in numbers").click()
    for name, value in zip(("x0", "y0", "z0", "x1", "y1", "z1"), (30, 10, 1, 44, 20, 4), strict=True):
        page.get_by_label(name, exact=True).fill(str(value))
    page.get_by_role("button", name="Segment", exact=True).click()
    assert slices_of(opened.settled()[0]) == [1, 2, 3]


def test_progress_and_cancel(held: Hand, encoder: HeldEncoder) -> None:
    page = held.page
    held.opened(NAME)  # the only file that is served opens by itself
    encoder.leave.release(2)  # the slice at hand, ahead of the box, and one more
    held.drag(30, 10, 44, 20)
    row = page.locator(".objects li")
    expect(row).to_contain_text("of 5 slices")
    with page.expect_response(lambda answer: answer.request.method == "DELETE"):
        row.get_by_role("button", name="Cancel").click()
    encoder.leave.release(1000)  # the job ends after the slice at hand all the same
    (found,) = held.settled()
    assert slices_of(found) == [2]  # what was there stays
    expect(row.get_by_role("button", name="Follow through slices")).to_be_visible()


def test_a_dicom_series_is_uploaded_as_one(hand: Hand, tmp_path: Path) -> None:
    series(tmp_path / "series", slices())
    hand.upload(*sorted((tmp_path / "series").iterdir()))
    hand.page.locator("#slices output").wait_for()
    expect(hand.page.locator("#slices output")).to_have_text("Axial 2 / 3")
    expect(hand.page.locator("#modality")).to_have_value("CT")
    hand.page.get_by_role("button", name="Box in numbers").click()
    hand.page.get_by_role("button", name="Segment", exact=True).click()
    expect(hand.page.locator(".toast.warning")).to_contain_text("CT values range from 0 to 219")


def test_the_volume_is_that_of_the_file(opened: Hand, folder: Path) -> None:
    assert sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "more" / NAME))).shape == VOLUME.shape
    expect(opened.page.locator(".facts")).to_have_text("64 × 64 × 5 · int16 · 0.5 × 0.75 × 2 mm")
    assert np.allclose(
        (opened.screen(64, 0)[0] - opened.screen(0, 0)[0]) * 1.5, opened.screen(0, 64)[1] - opened.screen(0, 0)[1]
    )


def test_the_picture_follows_the_modality(hand: Hand, tmp_path: Path) -> None:
    """HU without a modality are shown as CT, 40 as mid-grey; as MR 40 is the highest value, so white."""
    values = np.repeat(np.array([-1000, 40], np.int16), 32) * np.ones((3, 64, 1), np.int16)
    sitk.WriteImage(sitk.GetImageFromArray(values), str(tmp_path / "hu.nii.gz"))
    hand.upload(tmp_path / "hu.nii.gz")
    hand.opened("hu.nii.gz")
    assert abs(hand.color(48, 32)[0] - 127) < 3
    hand.page.locator("#modality").select_option("MR")
    hand.page.wait_for_timeout(500)
    assert hand.color(48, 32)[0] == 255
