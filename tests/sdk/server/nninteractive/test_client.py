"""The protocol as its own client speaks it, over a real socket. Masks are those of the fakes, worked out by hand."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import replace

import httpx
import numpy as np
import numpy.typing as npt
import pytest

from medsam_edge.segmenter import Segmenter
from medsam_edge.server.limits import Limits
from tests.sdk.fake import fake_model, prompted_model
from tests.sdk.server.running import TOKEN, running

pytest.importorskip("nnInteractive.inference.remote", reason="needs the extra nninteractive")

from nnInteractive.inference.remote import (
    ServerAtCapacityError,
    SessionExpiredError,
    nnInteractiveRemoteInferenceSession,
)
from nnInteractive.inference.remote.serialization import pack_array

from medsam_edge.server.nninteractive.app import make_viewers_app
from medsam_edge.server.nninteractive.leases import LeaseRules

SHAPE = (5, 64, 64)
BOX = [[2, 3], [10, 20], [30, 44]]
IN_BOX = np.s_[:, 10:20, 30:44]
Client = nnInteractiveRemoteInferenceSession


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    app = make_viewers_app(Segmenter(prompted_model()), Limits(), TOKEN, rules=LeaseRules(sessions=2))
    with running(app) as found:
        yield found


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url, api_key=TOKEN) as session:
        session.set_image(image(), {"spacing": [5.0, 1.0, 1.0]})
        session.set_target_buffer(np.zeros(SHAPE, np.uint8))
        yield session


def image(shape: tuple[int, ...] = SHAPE) -> npt.NDArray[np.int16]:
    return np.random.default_rng(0).integers(0, 100, (1, *shape)).astype(np.int16)


def blank() -> npt.NDArray[np.uint8]:
    return np.zeros(SHAPE, np.uint8)


def boxed() -> npt.NDArray[np.uint8]:
    mask = blank()
    mask[IN_BOX] = 1
    return mask


def disk(mask: npt.NDArray[np.uint8], z: slice, y: int, x: int, value: int) -> npt.NDArray[np.uint8]:
    """The fake's answer to a click: a disk of radius 3."""
    rows, columns = np.indices(SHAPE[1:])
    mask[z, np.hypot(columns - x, rows - y) <= 3] = value
    return mask


def refuse(url: str, key: str, error: type[Exception], why: str) -> None:
    """A client that is not let in leaves its socket open; it is closed here."""
    refused = Client.__new__(Client)
    with pytest.raises(error, match=why):
        refused.__init__(url, api_key=key)  # type: ignore[misc]
    refused._http.close()


def buffer(client: Client) -> npt.NDArray[np.uint8]:
    assert isinstance(client.target_buffer, np.ndarray)
    return client.target_buffer


def test_capabilities(client: Client) -> None:
    assert client.supported_interactions == dict.fromkeys(("points", "scribble", "lasso", "bbox2d", "bbox3d"), True)
    assert client.supports_undo and client.supports_initial_label
    assert client.original_image_shape == (1, *SHAPE)
    assert client.ping()


def test_a_box_on_a_slice_is_followed_through_the_volume(client: Client) -> None:
    assert client.add_bbox_interaction(BOX, True) == [[0, 5], [10, 20], [30, 44]]
    np.testing.assert_array_equal(buffer(client), boxed())


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_box_is_followed_along_the_axis_on_which_it_is_flat(url: str, axis: int) -> None:
    expected = np.moveaxis(boxed() > 0, 0, axis)
    shape, box = expected.shape, BOX[1:]
    box.insert(axis, BOX[0])
    with Client(url, api_key=TOKEN) as session:
        session.set_image(image(shape))
        session.set_target_buffer(np.zeros(shape, bool))
        session.add_bbox_interaction(box, True)
        np.testing.assert_array_equal(buffer(session), expected)


@pytest.mark.usefixtures("no_narrowing")
def test_a_box_of_three_dimensions_ends_where_it_ends(client: Client) -> None:
    assert client.add_bbox_interaction([[1, 4], *BOX[1:]], True) == [[1, 4], [10, 20], [30, 44]]
    assert buffer(client).sum() == 3 * 10 * 14


def test_a_click_alone_begins_an_object_on_its_slice(client: Client) -> None:
    client.add_point_interaction([1, 30, 40], True)
    np.testing.assert_array_equal(buffer(client), disk(blank(), np.s_[:], 30, 40, 1))


def test_clicks_correct_and_only_the_changed_part_is_sent(client: Client) -> None:
    client.add_bbox_interaction(BOX, True)
    changed = client.add_point_interaction([2, 14, 36], False)
    expected = disk(boxed(), np.s_[2], 14, 36, 0)
    assert changed is not None
    np.testing.assert_array_equal(buffer(client)[2], expected[2])
    assert changed[1:] == [[11, 18], [33, 40]]


def test_undo_goes_back_step_by_step(client: Client) -> None:
    client.add_bbox_interaction(BOX, True)
    client.add_point_interaction([2, 14, 36], False)
    assert client.undo()
    np.testing.assert_array_equal(buffer(client), boxed())
    assert client.undo()
    assert not buffer(client).any()
    assert not client.undo()


def test_a_scribble_is_clicks_along_its_centre(client: Client) -> None:
    scribble = blank()
    scribble[2, 30:33, 10:50] = 1
    client.add_scribble_interaction(scribble, True)
    drawn = buffer(client)[2]
    assert drawn[31, 11:49].any()
    rows = np.flatnonzero(drawn.any(axis=1))
    assert (rows[0], rows[-1]) == (28, 34)  # disks of radius 3 around row 31


def test_a_scribble_of_a_part_of_the_image(client: Client) -> None:
    client.add_scribble_interaction(np.ones((1, 3, 3), np.uint8), True, interaction_bbox=[[2, 3], [30, 33], [40, 43]])
    np.testing.assert_array_equal(buffer(client)[2], disk(blank(), np.s_[2], 31, 41, 1)[2])


def test_a_lasso_is_a_mask_prompt(client: Client) -> None:
    lasso = blank()
    lasso[2, 10:20, 30:44] = 1
    lasso[2, 10:12, 30:32] = 0
    client.add_lasso_interaction(lasso, True)
    np.testing.assert_array_equal(buffer(client)[2], lasso[2])
    assert buffer(client).any(axis=(1, 2)).all()


def test_a_second_box_adds_and_a_negative_one_takes_away(client: Client) -> None:
    client.add_bbox_interaction(BOX, True)
    client.add_bbox_interaction([[2, 3], [40, 50], [5, 15]], True)
    both = boxed()
    both[:, 40:50, 5:15] = 1
    np.testing.assert_array_equal(buffer(client), both)
    client.add_bbox_interaction([[2, 3], [40, 50], [5, 15]], False)
    assert buffer(client)[2, 40:50, 5:15].sum() < 100
    np.testing.assert_array_equal(buffer(client)[2, 10:20, 30:44], 1)


def test_an_initial_segmentation_is_gone_on_from(client: Client) -> None:
    client.add_initial_seg_interaction(boxed())
    np.testing.assert_array_equal(buffer(client), boxed())
    client.add_point_interaction([2, 14, 36], False)
    np.testing.assert_array_equal(buffer(client)[2], disk(boxed(), np.s_[2], 14, 36, 0)[2])
    assert client.undo()
    np.testing.assert_array_equal(buffer(client), boxed())


@pytest.mark.usefixtures("no_narrowing")
def test_an_initial_segmentation_that_is_decoded_at_once(client: Client) -> None:
    client.add_initial_seg_interaction(boxed(), run_prediction=True)
    np.testing.assert_array_equal(buffer(client), boxed())


def test_interactions_wait_for_predict(client: Client) -> None:
    assert client.add_bbox_interaction(BOX, True, run_prediction=False) is None
    assert not buffer(client).any()
    assert client._predict() == [[0, 5], [10, 20], [30, 44]]
    assert client._predict() is None


def test_reset_and_a_new_buffer(client: Client) -> None:
    client.add_bbox_interaction(BOX, True)
    client.reset_interactions()
    assert not buffer(client).any()
    client.add_bbox_interaction(BOX, True)
    np.testing.assert_array_equal(buffer(client), boxed())


def test_a_picture_is_one_slice(url: str) -> None:
    with Client(url, api_key=TOKEN) as session:
        session.set_image(image((64, 64, 1)))
        session.set_target_buffer(np.zeros((64, 64, 1), np.uint8))
        session.add_bbox_interaction([[10, 20], [30, 44], [0, 1]], True)
        assert buffer(session).sum() == buffer(session)[10:20, 30:44].sum() == 10 * 14


def test_two_clients_have_an_object_each_and_there_is_no_third(url: str, client: Client) -> None:
    with Client(url, api_key=TOKEN) as other:
        other.set_image(image())
        other.set_target_buffer(np.zeros(SHAPE, np.uint8))
        client.add_bbox_interaction(BOX, True)
        other.add_point_interaction([1, 30, 40], True)
        np.testing.assert_array_equal(buffer(client), boxed())
        np.testing.assert_array_equal(buffer(other), disk(blank(), np.s_[:], 30, 40, 1))
        refuse(url, TOKEN, ServerAtCapacityError, "all 2 sessions are taken")


def test_a_lost_lease_is_said(client: Client) -> None:
    assert 0 < client.heartbeat() <= 600
    assert client.lease_status()["idle_timeout_seconds"] == 600
    client._http.post("/release")
    with pytest.raises(SessionExpiredError, match="the session has ended"):
        client.add_bbox_interaction(BOX, True)


def test_a_wrong_key_is_refused(url: str) -> None:
    refuse(url, "another", httpx.HTTPStatusError, "401")


@pytest.mark.parametrize(
    ("array", "why"),
    [
        (np.zeros((3, 4, 64, 64), np.uint8), "one channel"),
        (np.full((1, 4, 64, 64), np.nan, np.float32), "finite"),
        (np.zeros((1, 4, 64, 64), np.complex64), "real numbers"),
    ],
)
def test_images_that_cannot_be_taken(client: Client, array: npt.NDArray[np.generic], why: str) -> None:
    with pytest.raises(httpx.HTTPStatusError, match="422") as caught:
        client.set_image(array)
    assert why in caught.value.response.json()["detail"]


def test_prompts_that_cannot_be_taken(client: Client) -> None:
    for act in (
        lambda: client.add_point_interaction([9, 1, 1], True),
        lambda: client.add_bbox_interaction([[2, 3], [70, 80], [1, 2]], True),
        lambda: client.add_bbox_interaction([[2, 2], [1, 2], [1, 2]], True),
        lambda: client.add_scribble_interaction(np.zeros((2, 2, 2), np.uint8), True),
        lambda: client.set_target_buffer(np.zeros((1, 2, 3), np.uint8)),
        lambda: client.set_target_buffer(np.zeros(SHAPE, np.float32)),
    ):
        with pytest.raises(httpx.HTTPStatusError, match="422"):
            act()
    client.set_target_buffer(blank())
    client.add_bbox_interaction(BOX, True)
    np.testing.assert_array_equal(buffer(client), boxed())


def test_an_object_that_takes_too_long_stays_as_it_was() -> None:
    hurried = Limits(job_seconds=0.0)
    with (
        running(make_viewers_app(Segmenter(prompted_model()), hurried, TOKEN)) as url,
        Client(url, api_key=TOKEN) as session,
    ):
        session.set_image(image())
        session.set_target_buffer(blank())
        with pytest.raises(httpx.HTTPStatusError, match="422") as caught:
            session.add_bbox_interaction(BOX, True)
        assert "longer than 0 s" in caught.value.response.json()["detail"]
        assert not session.undo()


def test_an_array_that_lies_about_its_shape(client: Client) -> None:
    body = bytearray(pack_array(image()))
    body[13:45] = struct.pack("<4q", 1, 1 << 20, 1 << 20, 1 << 20)  # after the head and `int16`
    answer = client._http.post("/set_image", content=bytes(body), headers={"X-Meta": "{}"})
    assert answer.status_code == 422
    assert "bytes of values" in answer.json()["detail"]
    assert client.ping()


def test_what_the_network_does_not_take_is_not_offered() -> None:
    plain = Segmenter(replace(fake_model(), prompts=("box",)))
    with (
        running(make_viewers_app(plain, Limits(), TOKEN)) as url,
        Client(url, api_key=TOKEN) as session,
    ):
        assert session.supported_interactions["bbox2d"]
        assert not session.supported_interactions["points"]
        assert not session.supports_initial_label
