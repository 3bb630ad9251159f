"""The REST API over a real socket. Masks are those of the fakes: the box, or the prompt's mask within it."""

from __future__ import annotations

import io
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest

from medsam_edge.intensity import to_display, volume_to_display
from medsam_edge.reading.read import read_image
from medsam_edge.segmenter import Segmenter
from medsam_edge.server.app import make_app
from medsam_edge.server.limits import Limits
from medsam_edge.server.masks import from_runs
from medsam_edge.server.service import Service
from medsam_edge.version import __version__
from tests.sdk.dicoms import dataset, write
from tests.sdk.fake import prompted_model
from tests.sdk.server.conftest import PICTURE, SPACING, VOLUME, sha256
from tests.sdk.server.running import TOKEN, running

BOX = [30, 10, 44, 20]


def ok(response: httpx.Response, status: int = 200) -> Any:
    assert response.status_code == status, response.text
    return response.json()


def refused(response: httpx.Response, status: int, kind: str, why: str) -> None:
    assert response.status_code == status, response.text
    assert response.json()["type"] == kind
    assert why in response.json()["detail"]


def mask_of(region: dict[str, Any], shape: tuple[int, int] = (64, 64)) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    rows, columns = slice(region["top"], region["top"] + region["height"]), region["left"]
    mask[rows, columns : columns + region["width"]] = from_runs(region["counts"], region["height"], region["width"])
    return mask


def boxed(*box: int) -> np.ndarray:
    mask = np.zeros((64, 64), dtype=bool)
    mask[box[1] : box[3], box[0] : box[2]] = True
    return mask


def segment(api: httpx.Client, image: str, **request: Any) -> Any:
    return ok(api.post(f"/images/{image}/segmentations", json=request), 201)


def test_what_the_server_can_do(api: httpx.Client) -> None:
    info = ok(api.get("/server"))
    assert info["version"] == __version__
    assert info["prompts"] == ["box", "points", "mask"]
    assert len(info["modalities"]) == 11
    assert info["windows"]["lung"] == [-600, 1500]
    assert info["serves_folder"] and info["saves"]


def test_served_files_and_nothing_outside(api: httpx.Client, folder: Path) -> None:
    files = [own["file"] for own in ok(api.get("/files"))]
    assert files == ["bad.png", "picture.png", "more/volume.nii.gz"]
    for file in ("../secret.png", "link.png", str(folder / "picture.png"), "notes.txt", "more/../picture.png"):
        refused(api.post("/images/open", json={"file": file}), 404, "Unknown", "no such image")


def test_an_image_is_known_by_its_content(api: httpx.Client, folder: Path, picture: str) -> None:
    assert picture == sha256(folder / "picture.png")
    content = (folder / "picture.png").read_bytes()
    uploaded = ok(api.post("/images", files=[("files", ("another name.png", content))]), 201)
    assert uploaded["id"] == picture
    assert uploaded["shape"] == [64, 64] and not uploaded["volume"] and not uploaded["color"]
    assert uploaded["range"] == [0, 255]
    assert picture in [own["id"] for own in ok(api.get("/images"))]
    assert ok(api.get(f"/images/{picture}"))["dtype"] == "uint8"


def test_a_volume(api: httpx.Client, volume: str) -> None:
    image = ok(api.get(f"/images/{volume}"))
    assert image["volume"] and image["shape"] == [5, 64, 64]
    np.testing.assert_allclose(image["spacing_mm"], SPACING)


def test_bad_files_give_the_message_of_the_sdk_and_no_path(api: httpx.Client, folder: Path) -> None:
    refused(api.post("/images/open", json={"file": "bad.png"}), 422, "ImageError", "cannot read bad.png: not a png")
    for name, content, why in (
        ("x.png", b"no png", "cannot read x.png: not a png"),
        ("x.txt", b"text", "expected one of"),
        (".png", b"", "plain file name"),
        ("a" * 200 + ".png", b"", "plain file name"),
    ):
        answer = api.post("/images", files=[("files", (name, content))])
        refused(answer, 422, "ImageError", why)
        assert "medsam-edge-" not in answer.text and str(folder) not in answer.text


@pytest.mark.usefixtures("listening")
def test_a_dicom_series_is_uploaded_as_its_files(api: httpx.Client, tmp_path: Path) -> None:
    planes = VOLUME[:3]
    for number, plane in enumerate(planes):
        position = {
            "ImagePositionPatient": [0, 0, number * 2.0],
            "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
            "PixelSpacing": [1, 1],
            "InstanceNumber": number + 1,
        }
        write(tmp_path / f"{number}.dcm", dataset(plane, **position))
    parts = [("files", (path.name, path.read_bytes())) for path in sorted(tmp_path.iterdir(), reverse=True)]
    image = ok(api.post("/images", files=parts), 201)
    assert image["shape"] == [3, 64, 64] and image["modality"] == "CT"
    for _ in range(2):  # the warning is of the display, which is made once
        result = segment(api, image["id"], boxes=[[*BOX[:2], 0, *BOX[2:], 3]])
        assert "expected air" in result["warnings"][0]
    seg = api.get(f"/segmentations/{result['id']}/labels.dcm")
    pytest.importorskip("highdicom", reason="needs the extra dicom")
    assert seg.content[128:132] == b"DICM"


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_are_shown_by_the_rule_of_the_modality(api: httpx.Client, volume: str, axis: int) -> None:
    answer = api.get(f"/images/{volume}/slices/3.png", params={"axis": axis, "modality": "MR"})
    shown = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(shown, np.moveaxis(volume_to_display(VOLUME), axis, 0)[3])
    answer = api.get(f"/images/{volume}/slices/3.png", params={"axis": axis, "window": "50,20"})
    shown = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(shown, to_display(np.moveaxis(VOLUME, axis, 0)[3], window=(50, 20)))


def test_a_picture_is_its_slice_0(api: httpx.Client, picture: str) -> None:
    answer = api.get(f"/images/{picture}/slices/0.png")
    assert answer.headers["content-type"] == "image/png"
    np.testing.assert_array_equal(cv2.imdecode(np.frombuffer(answer.content, np.uint8), -1), PICTURE)
    refused(api.get(f"/images/{picture}/slices/1.png"), 404, "Unknown", "expected 0 to 0")
    refused(api.get(f"/images/{picture}/slices/0.png?window=a,b"), 422, "InputError", "LEVEL,WIDTH")
    refused(api.get(f"/images/{picture}/slices/0.png?modality=NONE"), 422, "ModalityError", "expected one of")


def test_colour_stays_rgb(api: httpx.Client) -> None:
    rgb = np.zeros((8, 9, 3), np.uint8)
    rgb[..., 0] = 200
    content = cv2.imencode(".png", rgb[..., ::-1])[1].tobytes()
    image = ok(api.post("/images", files=[("files", ("c.png", content))]), 201)
    assert image["color"] and image["shape"] == [8, 9]
    shown = cv2.imdecode(np.frombuffer(api.get(f"/images/{image['id']}/slices/0.png").content, np.uint8), 1)
    assert shown[0, 0].tolist() == [0, 0, 200]


def test_boxes_become_masks(api: httpx.Client, picture: str) -> None:
    embedded = ok(api.post(f"/images/{picture}/embed", json={}))
    assert embedded["timings_ms"]["encode"] >= 0
    result = segment(api, picture, boxes=[BOX, [0, 0, 5, 5]], modality="US")
    assert result["modality"] == "US" and result["parent"] is None and result["warnings"] == []
    assert result["timings_ms"]["encode"] == 0.0
    first, second = result["objects"]
    assert first["box"] == BOX and first["size"] == 140 and second["size"] == 25
    np.testing.assert_array_equal(mask_of(first["regions"][0]), boxed(*BOX))
    assert ok(api.get(f"/segmentations/{result['id']}")) == result


def test_clicks_correct_and_undo_is_the_parent(api: httpx.Client, picture: str) -> None:
    result = segment(api, picture, boxes=[BOX])
    corrected = ok(
        api.post(f"/segmentations/{result['id']}/refine", json={"points": [[[36, 14]]], "point_labels": [[0]]}), 201
    )
    assert corrected["parent"] == result["id"]
    expected = boxed(*BOX)
    rows, columns = np.indices((64, 64))
    expected[np.hypot(columns - 36, rows - 14) <= 3] = False
    np.testing.assert_array_equal(mask_of(corrected["objects"][0]["regions"][0]), expected)
    assert corrected["objects"][0]["clicks"] == [{"point": [36, 14], "label": 0}]
    assert ok(api.get(f"/segmentations/{corrected['parent']}"))["objects"][0]["size"] == 140


def test_a_former_result_is_a_prompt(api: httpx.Client, picture: str, volume: str) -> None:
    former = segment(api, picture, boxes=[BOX])
    result = segment(api, picture, boxes=[[30, 10, 60, 40]], prior=former["id"])
    np.testing.assert_array_equal(mask_of(result["objects"][0]["regions"][0]), boxed(*BOX))
    other = api.post(f"/images/{volume}/segmentations", json={"boxes": [[0, 0, 0, 5, 5, 5]], "prior": former["id"]})
    refused(other, 422, "InputError", "same image")


@pytest.mark.usefixtures("listening")
def test_warnings_are_told(api: httpx.Client, picture: str) -> None:
    result = segment(api, picture, boxes=[[50, 50, 99, 99]])
    assert "reach outside" in result["warnings"][0]
    assert segment(api, picture, boxes=[BOX])["warnings"] == []


@pytest.mark.parametrize(
    ("request_", "kind", "why"),
    [
        ({"boxes": [[0, 0, 0, 5]]}, "BoxError", "with an area"),
        ({"boxes": [[0, 0, 5, 5, 5]]}, "BoxError", "(N, 4)"),
        ({"boxes": [[0, 0, 0, 5, 5, 5]]}, "ImageError", "for volumes"),
        ({}, "BoxError", "the image carries none"),
        ({"boxes": "all"}, "RequestValidationError", "boxes"),
        ({"boxes": [BOX], "axes": 1}, "RequestValidationError", "axes"),
        ({"boxes": [[1e30, 0, 5, 5]]}, "RequestValidationError", "boxes"),
        ({"boxes": [BOX], "window": "lung"}, "InputError", "uint8"),
        ({"points": [[[99, 99]]], "point_labels": [[1]]}, "InputError", "inside 64x64"),
        ({"boxes": [BOX], "prior": "none"}, "Unknown", "there is none"),
    ],
)
def test_wrong_prompts(api: httpx.Client, picture: str, request_: dict[str, Any], kind: str, why: str) -> None:
    answer = api.post(f"/images/{picture}/segmentations", json=request_)
    refused(answer, 404 if kind == "Unknown" else 422, kind, why)


@pytest.mark.usefixtures("no_narrowing")
@pytest.mark.parametrize(("axis", "slices"), [(0, 0), (1, 1), (2, 2), ("all", 0)])
def test_sections_along_any_axis(api: httpx.Client, volume: str, axis: int | str, slices: int) -> None:
    result = segment(api, volume, boxes=[[30, 10, 1, 44, 20, 4]], axis=axis)
    assert result["axis"] == slices and result["objects"][0]["size"] == 14 * 10 * 3
    whole = np.zeros(VOLUME.shape, dtype=bool)
    whole[1:4, 10:20, 30:44] = True
    for across in range(3):
        for number in (0, 2, 12, 35):
            if number >= VOLUME.shape[across]:
                continue
            (found,) = ok(api.get(f"/segmentations/{result['id']}/slices/{number}", params={"axis": across}))
            expected = np.moveaxis(whole, across, 0)[number]
            got = found["region"]
            shape = (expected.shape[0], expected.shape[1])
            np.testing.assert_array_equal(np.zeros(shape, bool) if got is None else mask_of(got, shape), expected)


def test_a_job_tells_how_far_it_is(api: httpx.Client, volume: str) -> None:
    request = {"boxes": [[30, 10, 2, 44, 20, 3]], "follow": True, "background": True}
    job = ok(api.post(f"/images/{volume}/segmentations", json=request), 202)
    with api.stream("GET", f"/jobs/{job['id']}/events") as stream:
        lines = [line for line in stream.iter_lines() if line]
    assert lines[-2] == "event: done"
    last = json.loads(lines[-1].removeprefix("data: "))
    assert (last["state"], last["done"], last["total"], last["place"]) == ("done", 5, 5, 0)
    assert ok(api.get(f"/segmentations/{last['segmentation']}"))["objects"][0]["size"] == 5 * 140
    refused(api.get(f"/jobs/{'0' * 32}"), 404, "Unknown", "job")


def test_a_failed_job_says_why(api: httpx.Client, volume: str) -> None:
    request = {"boxes": [[30, 10, 2, 44, 20, 4]], "follow": True, "background": True}
    job = ok(api.post(f"/images/{volume}/segmentations", json=request), 202)
    with api.stream("GET", f"/jobs/{job['id']}/events") as stream:
        stream.read()
    assert ok(api.get(f"/jobs/{job['id']}"))["problem"]["type"] == "BoxError"


def test_files_of_all_formats(api: httpx.Client, volume: str, picture: str, tmp_path: Path) -> None:
    result = segment(api, volume, boxes=[[30, 10, 2, 44, 20, 3], [0, 0, 2, 5, 5, 3]])
    expected = np.zeros(VOLUME.shape, np.uint16)
    expected[2, 10:20, 30:44], expected[2, :5, :5] = 1, 2
    for suffix in ("nii", "nii.gz", "nrrd", "mha"):
        (tmp_path / f"labels.{suffix}").write_bytes(api.get(f"/segmentations/{result['id']}/labels.{suffix}").content)
        loaded = read_image(tmp_path / f"labels.{suffix}")
        np.testing.assert_array_equal(loaded.pixels, expected)
        assert loaded.frame is not None
        np.testing.assert_allclose(loaded.frame.spacing_mm, SPACING)
    packed = np.load(io.BytesIO(api.get(f"/segmentations/{result['id']}/labels.npz").content))
    np.testing.assert_array_equal(packed["segs"], expected)
    refused(api.get(f"/segmentations/{result['id']}/labels.png"), 422, "ImageError", "for a volume")
    refused(api.get(f"/segmentations/{result['id']}/labels.dcm"), 422, "ImageError", "DICOM")
    flat = segment(api, picture, boxes=[BOX])
    answer = api.get(f"/segmentations/{flat['id']}/labels.png")
    assert answer.headers["content-disposition"] == 'attachment; filename="picture.png"'
    (tmp_path / "labels.png").write_bytes(answer.content)
    np.testing.assert_array_equal(read_image(tmp_path / "labels.png").pixels, boxed(*BOX))


def test_json_formats(api: httpx.Client, picture: str) -> None:
    one, two = segment(api, picture, boxes=[BOX]), segment(api, picture, boxes=[[0, 0, 2, 3]])
    objects = [
        {"segmentation": one["id"], "name": "nucleus"},
        {"segmentation": two["id"], "index": 0, "color": "#00ff00"},
    ]
    coco = ok(api.post(f"/images/{picture}/export", json={"format": "coco", "objects": objects}))
    assert coco["images"] == [{"id": 0, "width": 64, "height": 64, "file_name": "picture.png", "slice": 0}]
    assert [own["name"] for own in coco["categories"]] == ["nucleus", "object 2"]
    second = coco["annotations"][1]
    assert (second["bbox"], second["area"]) == ([0, 0, 2, 3], 6)
    assert second["segmentation"] == {"size": [64, 64], "counts": [0, 3, 61, 3, 64 * 62 + 61]}  # down the columns
    rle = ok(api.post(f"/images/{picture}/export", json={"format": "rle", "objects": objects}))
    assert rle["objects"][1]["slices"][0]["rle"] == second["segmentation"]
    polygons = ok(api.post(f"/images/{picture}/export", json={"format": "polygons", "objects": objects}))
    assert sorted(polygons["objects"][0]["slices"][0]["polygons"][0]) == [[30, 10], [30, 19], [43, 10], [43, 19]]
    wrong = {"format": "coco", "objects": [{"segmentation": one["id"], "index": 1}]}
    refused(api.post(f"/images/{picture}/export", json=wrong), 422, "InputError", "objects[0]")


def test_later_objects_lie_over_earlier_ones(api: httpx.Client, picture: str, tmp_path: Path) -> None:
    one, two = segment(api, picture, boxes=[BOX]), segment(api, picture, boxes=[[30, 10, 34, 20]])
    request = {"format": "png", "objects": [{"segmentation": one["id"]}, {"segmentation": two["id"]}]}
    (tmp_path / "labels.png").write_bytes(api.post(f"/images/{picture}/export", json=request).content)
    labels = read_image(tmp_path / "labels.png").pixels
    assert (labels[10:20, 30:34] == 2).all() and (labels[10:20, 34:44] == 1).all()


def test_what_is_saved_is_found_by_another_server(
    api: httpx.Client, picture: str, volume: str, folder: Path, output: Path
) -> None:
    flat = segment(api, picture, boxes=[BOX])
    flat = ok(
        api.post(f"/segmentations/{flat['id']}/refine", json={"points": [[[36, 14]]], "point_labels": [[0]]}), 201
    )
    deep = segment(api, volume, boxes=[[30, 10, 2, 44, 20, 3]], follow=True, axis=0)
    refused(api.get(f"/images/{'0' * 64}/saved"), 404, "Unknown", "open it again")
    for image, result in ((picture, flat), (volume, deep)):
        objects = [{"segmentation": result["id"], "name": "liver", "color": "#ff0000"}]
        saved = ok(api.put(f"/images/{image}/saved", json={"objects": objects}))
        assert (output / saved["file"]).is_file()
    with running(make_app(Service(Segmenter(prompted_model()), Limits(), folder, output), TOKEN)) as other:
        again = httpx.Client(base_url=f"{other}/api/v1", headers=api.headers)
        for file, image, result in (("picture.png", picture, flat), ("more/volume.nii.gz", volume, deep)):
            assert ok(again.post("/images/open", json={"file": file}), 201)["saved"]
            found = ok(again.get(f"/images/{image}/saved"))
            assert [(own["name"], own["color"]) for own in found["objects"]] == [("liver", "#ff0000")]
            (restored,) = found["segmentations"]
            assert restored["objects"] == result["objects"]
            clicks = {"points": [[[34, 12]]] if file == "picture.png" else [[[34, 12, 1]]], "point_labels": [[0]]}
            corrected = ok(again.post(f"/segmentations/{restored['id']}/refine", json=clicks), 201)
            assert corrected["objects"][0]["size"] < result["objects"][0]["size"]
        again.close()


def test_saved_files_that_are_damaged(api: httpx.Client, picture: str, output: Path) -> None:
    result = segment(api, picture, boxes=[BOX])
    objects = [{"segmentation": result["id"]}]
    ok(api.put(f"/images/{picture}/saved", json={"objects": objects}))
    file = output / f"{picture[:32]}.json"
    whole = json.loads(file.read_text(encoding="utf-8"))
    for change in ({"top": 60}, {"counts": [1]}, {"counts": [-1, 141]}, {"slice": 1}, {"top": -1}):
        damaged = json.loads(file.read_text(encoding="utf-8"))
        damaged["objects"][0]["regions"][0] |= change
        file.write_text(json.dumps(damaged))
        refused(api.get(f"/images/{picture}/saved"), 422, "ImageError", "saved: cannot read")
        file.write_text(json.dumps(whole))
    file.write_text("{")
    refused(api.get(f"/images/{picture}/saved"), 422, "ImageError", "saved: cannot read")
    file.unlink()
    refused(api.get(f"/images/{picture}/saved"), 409, "NotSaved", "nothing was saved")


def test_a_forgotten_image_is_gone_with_its_results(api: httpx.Client, picture: str) -> None:
    result = segment(api, picture, boxes=[BOX])
    assert api.delete(f"/images/{picture}").status_code == 204
    refused(api.get(f"/images/{picture}"), 404, "Unknown", "open it again")
    refused(api.get(f"/segmentations/{result['id']}"), 404, "Unknown", "dropped")


def test_health_metrics_and_documentation(url: str, api: httpx.Client, picture: str) -> None:
    segment(api, picture, boxes=[BOX])
    assert ok(httpx.get(f"{url}/healthz", headers=api.headers)) == {"ok": True}
    text = httpx.get(f"{url}/metrics", headers=api.headers).text
    assert 'medsam_edge_requests_total{method="POST",route="/api/v1/images/{image}/segmentations",status="201"}' in text
    assert re.search(r"^medsam_edge_images [1-9]", text, re.MULTILINE)
    described = ok(httpx.get(f"{url}/openapi.json", headers=api.headers))
    assert described["info"]["version"] == __version__
    assert "Problem" in described["components"]["schemas"]


class Blocking:
    """A decoder that waits until it may go on."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.may_go = threading.Event()
        self.effective_precision = inner.effective_precision

    def infer(self, inputs: Any) -> Any:
        self.may_go.wait(20)
        return self._inner.infer(inputs)


@pytest.fixture
def blocked() -> Iterator[tuple[httpx.Client, Blocking]]:
    """A server with one thread, whose decoder waits, and one place in each queue."""
    model = prompted_model()
    decoder = Blocking(model.decoder)
    object.__setattr__(model, "decoder", decoder)
    limits = Limits(workers=1, queue=1, jobs=1, client_jobs=2)
    with (
        running(make_app(Service(Segmenter(model), limits), TOKEN), limits) as found,
        httpx.Client(
            base_url=f"{found}/api/v1",
            headers={"authorization": f"Bearer {TOKEN}", "x-client": "me"},
            timeout=30,
            limits=httpx.Limits(max_connections=20),
        ) as client,
    ):
        yield client, decoder
        decoder.may_go.set()


def opened(api: httpx.Client) -> str:
    np.savez(content := io.BytesIO(), imgs=VOLUME.astype(np.uint8))
    key: str = ok(api.post("/images", files=[("files", ("v.npz", content.getvalue()))]), 201)["id"]
    return key


def test_jobs_wait_for_their_turn_and_can_be_cancelled(blocked: tuple[httpx.Client, Blocking]) -> None:
    api, decoder = blocked
    image = opened(api)
    request = {"boxes": [[30, 10, 2, 44, 20, 3]], "follow": True, "background": True}
    path = f"/images/{image}/segmentations"
    first, second = (ok(api.post(path, json=request), 202) for _ in range(2))
    assert second["place"] == 1 and second["state"] == "queued"
    refused(api.post(path, json=request), 429, "TooMany", "at most 2")
    busy = api.post(path, json=request, headers={"x-client": "another"})
    refused(busy, 503, "Busy", "no more are taken")
    assert busy.headers["retry-after"] == "1"
    assert ok(api.delete(f"/jobs/{second['id']}"), 202)["state"] == "cancelled"
    ok(api.delete(f"/jobs/{first['id']}"), 202)
    decoder.may_go.set()
    with api.stream("GET", f"/jobs/{first['id']}/events") as stream:
        stream.read()
    assert ok(api.get(f"/jobs/{first['id']}"))["state"] == "cancelled"


def test_overload_is_said_at_once_and_nothing_is_lost(blocked: tuple[httpx.Client, Blocking]) -> None:
    api, decoder = blocked
    image = opened(api)
    answers: list[int] = []

    def ask() -> None:
        request = {"boxes": [[30, 10, 2, 44, 20, 3]]}
        answers.append(api.post(f"/images/{image}/segmentations", json=request).status_code)

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    while len(answers) < 4:  # one works, one waits, four are sent away while the decoder stands still
        threading.Event().wait(0.01)
    assert answers == [503] * 4
    decoder.may_go.set()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [201, 201, 503, 503, 503, 503]
