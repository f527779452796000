"""Published data that evaluations read, known by their digest."""

from __future__ import annotations

import hashlib
import tarfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from amiss.errors import SourceError


def files_of(data: Path, archive: str, digest: str, wanted: Sequence[str]) -> dict[str, bytes]:
    """The contents of published files by name, from an archive or the directory it was unpacked to.

    Parameters
    ----------
    data
        The archive, or a directory that holds it or its contents.
    archive
        What the archive is called (.tar.gz, .zip), or the file, where one is published by itself.
    digest
        Of all files that are wanted, as :func:`digest_of` gives it.
    wanted
        How names of files begin that are wanted.

    Raises
    ------
    SourceError
        If there are no such files, or others.
    """
    found = dict(_contents(Path(data), archive, tuple(wanted)))
    if not found:
        contents = "" if archive in wanted else f", nor its contents ({', '.join(wanted)})"
        raise SourceError(f"{data} does not hold {archive}{contents}")
    if digest_of(found) != digest:
        raise SourceError(
            f"{data} does not hold the published files: {len(found)} files have the digest {digest_of(found)}; "
            f"expected {digest}. Fetch {archive} anew"
        )
    return found


def digest_of(files: Mapping[str, bytes]) -> str:
    """A digest of names and contents, whatever their order."""
    whole = hashlib.sha256()
    for name in sorted(files):
        whole.update(f"{name}\0{hashlib.sha256(files[name]).hexdigest()}\n".encode())
    return whole.hexdigest()


def _contents(data: Path, archive: str, wanted: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    """Names and contents of all files whose name begins as is wanted."""
    packed = data if data.is_file() else data / archive
    try:
        if not packed.is_file():
            yield from _unpacked(data, wanted)
        elif packed.suffix == ".zip":
            with zipfile.ZipFile(packed) as opened:
                yield from ((name, opened.read(name)) for name in opened.namelist() if name.startswith(wanted))
        elif ".tar" in packed.suffixes or packed.suffix == ".tgz":
            with tarfile.open(packed) as members:
                yield from _members(members, wanted)
        elif packed.name.startswith(wanted):
            yield packed.name, packed.read_bytes()
    except (OSError, tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
        raise SourceError(f"{packed} cannot be read: {error}") from error


def _unpacked(folder: Path, wanted: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the files in a directory."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name.startswith(wanted) and path.is_file():
            yield name, path.read_bytes()


def _members(opened: tarfile.TarFile, wanted: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the files in an archive."""
    for member in opened:
        name = member.name.removeprefix("./")
        held = opened.extractfile(member) if name.startswith(wanted) and member.isfile() else None
        if held is not None:
            yield name, held.read()
