"""Runs over DICOM, NIfTI and pages: the rules are recorded, and nothing personal of a header is in any output."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evalkit.analysis.dataset_audit import audit, render
from evalkit.cli.config import build, load_option
from evalkit.core.errors import DataError
from evalkit.core.images import probe
from evalkit.core.medical_images import MAX_RULES, expand_volume, rule_counts
from evalkit.core.types import ImageRef, Message, Sample
from evalkit.engines.hf import HfEngine
from evalkit.judge.image_encoding import data_url, read_image
from evalkit.pipeline.evaluate import evaluate
from evalkit.pipeline.settings import Settings
from evalkit.reports.run_page import page_data, write_page
from evalkit.reports.run_page.page import pictures
from evalkit.runs.read import manifest_at
from evalkit.tasks.base import LoadedTask
from evalkit.tasks.image_check import check_images
from evalkit.tasks.image_places import with_places
from tests.support import dicom_files as make
from tests.support import tiny_llava as tiny

# Values whose texts stand in the headers, in the forms in which an output might have them.
SECRETS = [value.encode() for value in make.MARKERS.values()] + [b"ZZNAME", b"MARKER", b"1901-02-03"]


@dataclass
class Clinic:
    """A task over the images of a folder: one question an image, and one about the slices of a volume."""

    folder: Path
    name: str = "clinic"

    def load(self, *, images: bool = True) -> LoadedTask:
        del images
        volume = expand_volume(self.folder / "volume.nii", 3)
        files = [(ImageRef(kind="file", path=str(p)),) for p in sorted(self.folder.glob("*.dcm"))]
        samples = tuple(
            Sample(
                id=str(k), image_id=str(k), question=f"w{k} w{k + 1}", references=("w1",), images=refs,
                tags={"answer_type": "OPEN"},
            )
            for k, refs in enumerate([*files, volume])
        )  # fmt: skip
        return LoadedTask(
            name=self.name, split="test", form="files", samples=samples, closed_rule="label", prompt="plain@0"
        )

    def load_train(self) -> LoadedTask:
        raise DataError("there is no train split")

    def messages(self, item: Sample) -> tuple[Message, ...]:
        return (Message(role="user", content=with_places(item.question, len(item.images), f"row {item.id}")),)


@pytest.fixture
def clinic(tmp_path: Path) -> Clinic:
    folder = tmp_path / "data"
    folder.mkdir()
    for k in range(2):
        fields = {"WindowCenter": [40, 300], "WindowWidth": [400, 1500], "RescaleSlope": 1, "RescaleIntercept": -1024}
        make.write(folder / f"a{k}.dcm", make.ramp(60, 60, low=k), **fields, **make.MARKERS)
    make.write(folder / "b.dcm", make.ramp(60, 60), PhotometricInterpretation="MONOCHROME1", **make.MARKERS)
    values = np.random.default_rng(0).integers(0, 99, (60, 60, 9)).astype(np.int16)
    (folder / "volume.nii").write_bytes(make.nifti(values, descrip=b"ZZNAME ZZSTUDY"))
    return Clinic(folder)


def every_byte(folder: Path) -> bytes:
    return b"\n".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def assert_nothing_personal(content: bytes) -> None:
    assert [secret for secret in SECRETS if secret in content] == []


def test_a_run_its_page_and_its_audit_have_the_rules_and_no_personal_field(
    clinic: Clinic, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    assert all(secret in every_byte(clinic.folder) for secret in SECRETS[:-2])  # the files do have them
    loaded, digests = check_images(clinic.load())
    engine = HfEngine(spec=tiny.spec(tiny.save(tmp_path / "model")), device="cpu", dtype="float32")
    protocols: list[Any] = [build(load_option("protocol", "strict"), "strict")]
    settings = Settings(model="tiny", out=tmp_path / "runs")
    done = evaluate(clinic, loaded, digests, engine, protocols, settings, {})  # type: ignore[arg-type]
    assert done is not None and done.n_failed == 0
    assert manifest_at(done.folder / "manifest.json").image_rules == {
        "NIfTI, axial slice in RAS as radiologists see it, window from percentile 1 to 99 of the volume": 3,
        "DICOM, rescale 1/-1024, window 40/400 of the header (first of 2)": 2,
        "DICOM, range of the frame's values, MONOCHROME1 inverted": 1,
    }
    shown = pictures(loaded.samples, tmp_path / "page-images")
    assert [len(p.addresses) for p in shown.values()] == [1, 1, 1, 3]
    page = tmp_path / "page" / "page.html"
    page.parent.mkdir()
    write_page(page, page_data([done.folder], {s.id: s for s in loaded.samples}, shown))
    findings = render(audit(clinic))  # type: ignore[arg-type]
    assert "0 " in findings
    written = capsys.readouterr()
    outputs = [every_byte(done.folder), every_byte(page.parent), findings.encode(), caplog.text.encode()]
    for ref in digests:
        outputs += [read_image(ref), data_url(read_image(ref), str(ref)).encode()]
    for content in (*outputs, written.out.encode(), written.err.encode()):
        assert_nothing_personal(content)


def test_a_damaged_file_is_named_without_its_personal_fields(clinic: Clinic, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    whole = (clinic.folder / "b.dcm").read_bytes()
    for k, at in enumerate(range(140, len(whole) - 7200, 7)):
        path = clinic.folder / f"cut{k}.dcm"
        path.write_bytes(whole[:at] if k % 2 else whole[:at] + b"\xff\xff" + whole[at + 2 :])
        ref = ImageRef(kind="file", path=str(path))
        assert_nothing_personal(str(probe([ref])[ref]).encode())
        path.unlink()
    assert_nothing_personal(caplog.text.encode())


def test_a_run_on_other_pixels_of_the_same_file_is_another_run(clinic: Clinic) -> None:
    """A stated window changes the digest, a changed name of a patient does not."""
    path = clinic.folder / "a0.dcm"
    _, before = check_images(clinic.load())
    path.write_bytes(path.read_bytes().replace(b"ZZNAME", b"YYNAME"))
    _, after = check_images(clinic.load())
    assert before == after
    stated = ImageRef(kind="file", path=str(path), member="window=300/1500")
    assert probe([stated])[stated] not in before.values()


def test_rules_are_counted_up_to_a_number(tmp_path: Path) -> None:
    refs = []
    for k in range(MAX_RULES + 5):
        path = make.write(tmp_path / f"{k}.dcm", make.ramp(2, 2), WindowCenter=k, WindowWidth=10)
        refs += [ImageRef(kind="file", path=str(path))] * 2
    counted = rule_counts([*refs, ImageRef(kind="blank", of=refs[0])])
    assert len(counted) == MAX_RULES + 1 and sum(counted.values()) == MAX_RULES + 5
    assert counted["5 further rules"] == 5
    assert json.loads(json.dumps(counted)) == counted
