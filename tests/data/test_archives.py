import bz2
import gzip
import hashlib
import io
import tarfile
import zipfile

import pytest

from polytask.data.archives import digest, open_plain, plain_digest, unpack
from polytask.errors import DataError

TEXT = b"one line of many\n" * 1_000


def zipped(path, *names):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, TEXT)
    return path


def tarred(path, *members):
    with tarfile.open(path, "w:gz") as archive:
        for given in members:
            member = tarfile.TarInfo(given) if isinstance(given, str) else given
            member.size = len(TEXT) if member.isfile() else 0
            archive.addfile(member, io.BytesIO(TEXT) if member.isfile() else None)
    return path


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress])
def test_plain_bytes_are_the_same_however_packed(tmp_path, pack):
    path = tmp_path / "file"
    path.write_bytes(pack(TEXT))
    with open_plain(path) as file:
        assert file.read() == TEXT
    assert plain_digest(path, len(TEXT)) == hashlib.sha256(TEXT).hexdigest()
    assert digest(path) == hashlib.sha256(pack(TEXT)).hexdigest()


def test_a_file_that_unpacks_to_too_much_is_refused(tmp_path):
    (tmp_path / "bomb.gz").write_bytes(gzip.compress(bytes(10_000_000)))
    with pytest.raises(DataError, match="at most 1,000,000 bytes"):
        plain_digest(tmp_path / "bomb.gz", 1_000_000)


@pytest.mark.parametrize("damage", [lambda data: data[:-20], lambda data: data[:40] + b"????" + data[44:]])
def test_a_damaged_file_is_named(tmp_path, damage):
    (tmp_path / "file.gz").write_bytes(damage(gzip.compress(TEXT)))
    with pytest.raises(DataError, match=r"file\.gz must be a whole file"):
        plain_digest(tmp_path / "file.gz", 1 << 20)


@pytest.mark.parametrize("make", [zipped, tarred])
def test_files_and_folders_are_unpacked(tmp_path, make):
    made = unpack(make(tmp_path / "archive", "a.txt", "deep/er/b.txt"), tmp_path / "out", max_bytes=1 << 20)
    assert [str(path.relative_to(tmp_path / "out")) for path in made] == ["a.txt", "deep/er/b.txt"]
    assert all(path.read_bytes() == TEXT for path in made)


@pytest.mark.parametrize("make", [zipped, tarred])
@pytest.mark.parametrize("name", ["../evil", "deep/../../evil", "/etc/evil", "..\\evil", "C:\\evil", "a/b/../../../evil"])
def test_no_member_leaves_the_folder(tmp_path, make, name):
    with pytest.raises(DataError, match="must stay inside"):
        unpack(make(tmp_path / "archive", "good.txt", name), tmp_path / "out", max_bytes=1 << 20)
    assert not (tmp_path / "out").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive"]


def test_links_and_devices_are_refused(tmp_path):
    link, hard, device = (tarfile.TarInfo("way/out") for _ in range(3))
    link.type, link.linkname = tarfile.SYMTYPE, "/etc"
    hard.type, hard.linkname = tarfile.LNKTYPE, "../../secret"
    device.type = tarfile.CHRTYPE
    for member in (link, hard, device):
        with pytest.raises(DataError, match="link or device 'way/out'"):
            unpack(tarred(tmp_path / "archive", member, "way/out/file"), tmp_path / "out", max_bytes=1 << 20)
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive:
        entry = zipfile.ZipInfo("way")
        entry.external_attr = 0o120777 << 16
        archive.writestr(entry, "/etc")
    with pytest.raises(DataError, match="link 'way'"):
        unpack(tmp_path / "archive.zip", tmp_path / "out", max_bytes=1 << 20)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("make", [zipped, tarred])
def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path, make):
    with pytest.raises(DataError, match="at most 30,000 bytes"):
        unpack(make(tmp_path / "archive", "a", "b"), tmp_path / "out", max_bytes=30_000)
    assert not (tmp_path / "out").exists()


def test_what_is_no_archive_is_named(tmp_path):
    (tmp_path / "archive").write_bytes(TEXT)
    with pytest.raises(DataError, match="whole zip or tar"):
        unpack(tmp_path / "archive", tmp_path / "out", max_bytes=1 << 20)
