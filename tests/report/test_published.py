"""What is published: frames, and pages that lessons show."""

import pytest
from llmesr.errors import InputError
from llmesr.report import published


def test_a_missing_frame_names_the_command(root):
    with pytest.raises(InputError, match=r"metrics.csv is missing: run `dvc repro evaluate` first"):
        published.load("shop")


def test_pages_of_built_in_datasets_are_shown_in_their_order_and_no_others(root, monkeypatch):
    shown = []
    monkeypatch.setattr(published, "display", lambda page: shown.append(page))
    for dataset, file in (("movielens-100k", "b.md"), ("complete-journey", "a.md"), ("tiny", "a.md"), ("shop", "a.md")):
        folder = root / "results" / dataset / "study"
        folder.mkdir(parents=True)
        (folder / file).write_text(f"{file} of {dataset}")
    published.show("study", "a.md", "b.md", "c.png")
    assert [page.data for page in shown] == [
        "### Published: Complete Journey",
        "a.md of complete-journey",
        "### Published: MovieLens-100K",
        "b.md of movielens-100k",
    ]
