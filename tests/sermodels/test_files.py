"""A file appears as a whole or not at all."""

import pytest

from sermodels.files import replacing


def test_what_was_written_replaces_the_file_at_the_end(tmp_path):
    path = tmp_path / "new" / "file"
    with replacing(path) as unfinished:
        unfinished.write_text("one")
        assert not path.exists()
    with replacing(path) as unfinished:
        unfinished.write_text("two")
        assert path.read_text() == "one"
    assert path.read_text() == "two"
    assert [p.name for p in path.parent.iterdir()] == ["file"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_after_an_error_the_file_is_as_it_was(tmp_path, error):
    path = tmp_path / "file"
    path.write_text("one")

    def write_half() -> None:
        with replacing(path) as unfinished:
            unfinished.write_text("tw")
            raise error

    with pytest.raises(error):
        write_half()
    assert path.read_text() == "one"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_two_writers_of_one_file_do_not_meet(tmp_path):
    path = tmp_path / "file"
    with replacing(path) as one:  # as in two containers on one file system, where process numbers are alike
        one.write_text("one")
        with replacing(path) as other:
            other.write_text("other")
        assert path.read_text() == "other"
    assert path.read_text() == "one"
