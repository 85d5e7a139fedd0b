"""The examples run as they are and write the picture that they announce."""

import runpy
from pathlib import Path

import matplotlib.image
import pytest

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))


@pytest.fixture(scope="module", params=EXAMPLES, ids=lambda path: path.stem)
def ran(request, tmp_path_factory):
    """What an example leaves behind: its names, and the folder it ran in."""
    folder = tmp_path_factory.mktemp(request.param.stem)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return request.param, runpy.run_path(str(request.param), run_name="__main__"), folder


def test_an_example_writes_its_picture(ran):
    path, _, folder = ran
    assert [file.name for file in folder.iterdir()] == [f"{path.stem}.png"]
    picture = matplotlib.image.imread(folder / f"{path.stem}.png")
    assert picture.shape[:2] == (540, 1200)
    assert picture.std() > 0.05  # something is drawn


def test_an_example_shows_what_it_says(ran):
    path, names, _ = ran
    if path.stem == "my_own_loss":
        assert [study.order for study in names["studies"].values()] == pytest.approx([1, 2], abs=0.1)
    if path.stem == "small_network":
        slow, rescaled = (line.get_ydata()[-1] for line in names["right"].lines)
        assert slow < rescaled / 5


def test_there_are_examples():
    assert {path.stem for path in EXAMPLES} >= {"my_own_loss", "small_network"}
