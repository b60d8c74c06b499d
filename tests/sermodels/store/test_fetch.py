"""Stores fetched from elsewhere: a shared folder, and S3 as a server on loopback speaks it."""

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from processes import environment, error_line, free_port, job, serving
from pyarrow.fs import FileSystem, LocalFileSystem

from sermodels.errors import UserError
from sermodels.store.fetch import _DamagedError, _fetched, copies, local_store

ALTERED = 2**16  # a byte in the middle of the pixels


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def s3():
    """An S3 server; the end of an address in it."""
    port = free_port()
    command = [Path(sys.executable).with_name("moto_server"), "-H", "127.0.0.1", "-p", port]
    with serving(command, environment(), f"http://127.0.0.1:{port}/moto-api/"):
        yield f"?endpoint_override=127.0.0.1:{port}&scheme=http&region=eu-central-1"


@pytest.fixture(scope="module")
def uploaded(s3, store):
    """The address of the store in a bucket, with name and password."""
    address = f"s3://somebody:pass%2Fword@speech/stores/small.arrow{s3}"
    upload(store.path, address)
    return address


def upload(file, address):
    system, path = FileSystem.from_uri(f"{address}&allow_bucket_creation=true")
    system.create_dir(path.partition("/")[0])
    with system.open_output_stream(path) as remote:
        remote.write(file.read_bytes())


def altered(store, path):
    """A copy of a store with one bit of its pixels flipped."""
    data = bytearray(store.path.read_bytes())
    data[ALTERED] ^= 1
    path.write_bytes(data)
    return path


def test_a_path_is_taken_as_it_is(store):
    assert local_store(str(store.path)) == store.path
    assert not copies().exists()


def test_a_store_comes_from_s3_as_it_is(store, uploaded):
    told = []
    copy = local_store(uploaded, lambda done, total: told.append((done, total)))
    assert copy == copies() / f"{store.fingerprint}.arrow"
    assert copy.read_bytes() == store.path.read_bytes()
    size = store.path.stat().st_size // 10**6
    assert told[-1] == (size, size)


def test_it_is_fetched_once(store, uploaded):
    with ThreadPoolExecutor(4) as pool:
        told = [[] for _ in range(4)]
        found = list(pool.map(lambda calls: local_store(uploaded, lambda *step: calls.append(step)), told))
    assert len(set(found)) == 1
    assert sum(map(bool, told)) == 1


def test_a_known_store_is_found_without_the_network(store, uploaded):
    copy = local_store(uploaded)
    nowhere = "s3://speech/x?endpoint_override=127.0.0.1:1&scheme=http"
    assert local_store(nowhere, fingerprint=store.fingerprint) == copy


def test_a_shared_folder_is_copied_from(store):
    copy = local_store(f"file://{store.path}")
    assert copy != store.path
    assert copy.read_bytes() == store.path.read_bytes()


def test_what_a_killed_process_left_is_removed(store):
    copies().mkdir(parents=True)
    dead = subprocess.Popen(["true"])
    dead.wait()
    left = copies() / f".{store.fingerprint}.arrow.0badcafe.{dead.pid}"
    left.touch()
    local_store(f"file://{store.path}")
    assert not left.exists()


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("http://127.0.0.1/x.arrow", "Unrecognized filesystem type"),
        ("file:///nowhere/x.arrow", "No such file"),
        ("s3://speech/stores/other.arrow{s3}", "does not exist"),
        ("s3://other/x.arrow{s3}", "does not exist"),
    ],
)
def test_what_is_not_there_is_named(address, problem, s3, uploaded):
    address = address.format(s3=s3).replace("s3://", "s3://somebody:word@")
    with pytest.raises(UserError, match=problem) as caught:
        local_store(address)
    assert "word" not in str(caught.value)
    assert not copies().exists()


def test_a_file_that_is_no_store_is_named(tmp_path):
    text = tmp_path / "x.arrow"
    text.write_text("ARROW1 no, a text")
    with pytest.raises(UserError, match=r"x\.arrow: cannot be fetched: .*Arrow file"):
        local_store(f"file://{text}")


def test_a_secret_with_a_slash_is_not_shown_either():
    with pytest.raises(UserError) as caught:
        local_store("s3://AKIA:abc/def+g@bucket/x.arrow")
    assert "def" not in str(caught.value)


def test_a_store_that_is_replaced_while_it_is_fetched_is_not_kept(store, tmp_path):
    with pytest.raises(_DamagedError, match="replaced by the store"):
        _fetched(LocalFileSystem(), str(store.path), copies() / "0123456789abcdef.arrow", lambda *_: None)
    assert [path.suffix for path in copies().iterdir()] == [".lock"]


def test_a_damaged_store_is_not_kept(store, tmp_path):
    address = f"file://{altered(store, tmp_path / 'x.arrow')}"
    with pytest.raises(
        UserError, match=r"x\.arrow: damaged there, or on the way: pixels altered in view shift of clip"
    ):
        local_store(address)
    assert [path.suffix for path in copies().iterdir()] == [".lock"]


def test_another_store_than_expected_is_refused(store):
    with pytest.raises(UserError, match=f"holds the store {store.fingerprint[:12]} now, not 0123456789ab"):
        local_store(f"file://{store.path}", fingerprint="0123456789abcdef")


def test_the_jobs_take_addresses(store, uploaded, tmp_path):
    env = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    small = ["patch=32x4", "dim=16", "mlp=16", "head_dim=4", "teacher.stem=[2,1]"]
    epochs = [f"{stage}.epochs=1" for stage in ("teacher", "match", "student")]
    depth = [f"{stage}.{key}=1" for stage in ("teacher", "student") for key in ("depth", "heads")]
    done = job("train.py", "--store", uploaded, "--home", tmp_path, *small, *epochs, *depth, **env)
    assert done.returncode == 0, done.stderr
    assert store.fingerprint in done.stdout
    assert "pass" not in done.stdout + done.stderr
    line = error_line(job("sweep.py", "--store", "s3://a:secret@speech/x.arrow", "--home", tmp_path, **env))
    assert "secret" not in line


def test_nothing_is_left_of_a_cache_that_was_deleted(store):
    address = f"file://{store.path}"
    local_store(address)
    shutil.rmtree(copies())
    assert local_store(address, fingerprint=store.fingerprint).exists()
