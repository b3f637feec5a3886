"""Back-up and restore of the warehouse's home as one tar file.

Belongs here: what a back-up holds, writing it so that it is whole or not there, checking and unpacking it. Does not
belong here: keeping nights away meanwhile (``orchestration.night_lock``) and where back-ups are kept.

A back-up holds every file and link below the home but what nights make anew by themselves (dbt's target folder, locks,
leftovers of killed writers). The last member, ``backup.json``, has the size and SHA-256 of each file: a file that was
cut off has no such member. Databases of Dagster (SQLite) are copied by SQLite itself, since its daemon may be writing.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import sqlite3
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import IO, Any

from orchestration.settings import HMAC_KEY_FILE, Settings
from orchestration.warehouse.files import TEMPORARY_SUFFIX, sync

MANIFEST = "backup.json"
FORMAT = 1
REBUILT = ("dbt", "night.lock")
"""Below the home: what is made anew and is left out."""
SOURCES = "sources"

_LEFTOVERS = (TEMPORARY_SUFFIX, ".wal.tmp", ".draft")
_SQLITE = b"SQLite format 3\0"
_SQLITE_SIDES = ("-wal", "-shm", "-journal")
_DAGSTER = ("history", "schedules")
_CHUNK = 1 << 20


class BackupError(RuntimeError):
    """A back-up that cannot be written, read or restored; the message says how to mend it."""


@dataclass(frozen=True)
class Backup:
    """What a back-up holds.

    Attributes:
        path: The tar file.
        made_at: When, UTC.
        files: Number of files.
        bytes: Bytes of all of them.
        run_id: The release that was current; None where nothing was published.
        has_key: Whether the key of the pseudonyms is among them.
        versions: Version of each package that decides how files are read.
    """

    path: Path
    made_at: str
    files: int
    bytes: int
    run_id: str | None
    has_key: bool
    versions: Mapping[str, str]


def back_up(settings: Settings, target: Path, *, now: datetime, with_key: bool = True) -> Backup:
    """Write the home into a tar file; nothing is there under that name before it is whole.

    Args:
        settings: The home. Nothing else may write to it meanwhile, but Dagster's own databases.
        target: The file, ``.tar`` or ``.tar.gz``; or a folder, for a name with the time in it.
        now: Time of the back-up, UTC.
        with_key: Whether to take the key of the pseudonyms along.

    Raises:
        BackupError: the target exists or lies below the home, a file changed meanwhile, or the disk is full.
    """
    if target.is_dir():
        target /= f"experience-{now:%Y%m%dT%H%M%SZ}.tar"
    target = target.absolute()
    if target.exists():
        raise BackupError(f"{target} exists already; choose another name")
    if target.is_relative_to(settings.home):
        raise BackupError(f"{target} lies within {settings.home}, which is what is backed up; choose another place")
    if not target.parent.is_dir():
        raise BackupError(f"the folder {target.parent} does not exist; make it")
    if not settings.home.is_dir():
        raise BackupError(f"there is no home {settings.home} to back up")
    draft = target.with_name(f".{target.name}{TEMPORARY_SUFFIX}")
    try:
        content = _write(settings, draft, now, with_key)
        draft.replace(target)
        sync(target.parent)
    except OSError as error:
        raise BackupError(f"{target} was not written: {error}") from error
    finally:
        draft.unlink(missing_ok=True)
    return _summary(target, content)


def restore(source: Path, home: Path) -> Backup:
    """Unpack a back-up into a home that does not exist yet, every file compared with its hash.

    Args:
        source: A file that ``back_up`` wrote.
        home: The new home; it may exist only if it is empty.

    Raises:
        BackupError: the home holds something, or the back-up is not whole; nothing was restored.
    """
    home = home.absolute()
    if home.exists() and (not home.is_dir() or any(home.iterdir())):
        raise BackupError(f"{home} holds something already; restore into a folder that is empty or does not exist")
    home.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{home.name}-", suffix=TEMPORARY_SUFFIX, dir=home.parent))
    try:
        content = _unpack(source, draft)
        os.sync()
        if home.exists():
            home.rmdir()
        draft.chmod(0o755)
        draft.rename(home)
        sync(home.parent)
    except (OSError, tarfile.TarError, EOFError) as error:
        raise BackupError(f"{source} cannot be restored: {error}; nothing was restored") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return _summary(source, content)


def _write(settings: Settings, draft: Path, now: datetime, with_key: bool) -> dict[str, Any]:
    files: dict[str, dict[str, Any]] = {}
    links: dict[str, str] = {}
    folders: list[str] = []
    mode = "w:gz" if draft.name.removesuffix(TEMPORARY_SUFFIX).endswith(".gz") else "w"
    # It holds personal data and the key: nobody else may read it.
    with os.fdopen(os.open(draft, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as out:
        with tarfile.open(fileobj=out, mode=mode, format=tarfile.PAX_FORMAT) as archive:  # type: ignore[call-overload]
            for name, path in _members(settings, with_key):
                if path.is_symlink():
                    links[name] = str(path.readlink())
                    archive.add(path, name, recursive=False)
                elif path.is_dir():
                    folders.append(name)
                    archive.add(path, name, recursive=False)
                else:
                    files[name] = _add(archive, name, path)
            content = {
                "format": FORMAT,
                "made_at": f"{now:%Y-%m-%dT%H:%M:%SZ}",
                "home": str(settings.home),
                "current": _current(settings),
                "versions": {package: version(package) for package in ("duckdb", "dagster", "polars")},
                "files": files,
                "links": links,
                "folders": folders,
            }
            text = json.dumps(content, ensure_ascii=False, indent=1, sort_keys=True).encode()
            member = tarfile.TarInfo(MANIFEST)
            member.size, member.mtime, member.mode = len(text), now.timestamp(), 0o600
            archive.addfile(member, io.BytesIO(text))
        out.flush()
        os.fsync(out.fileno())
    return content


def _members(settings: Settings, with_key: bool) -> Iterator[tuple[str, Path]]:
    """What a back-up takes: name in the archive and path, folders before what is in them."""
    left_out = {*REBUILT, *(() if with_key else (HMAC_KEY_FILE,))}

    def below(folder: Path, prefix: str) -> Iterator[tuple[str, Path]]:
        for path in sorted(folder.iterdir()):
            name = f"{prefix}{path.name}"
            if name in left_out or path.name == ".lock" or path.name.endswith((*_LEFTOVERS, *_SQLITE_SIDES)):
                continue
            if path.name.startswith((".work-", ".spill")):
                continue
            if path.is_symlink() or path.is_file() or path.is_dir():
                yield name, path
            if path.is_dir() and not path.is_symlink():
                yield from below(path, f"{name}/")

    yield from below(settings.home, "")
    if settings.sources_dir != settings.home / SOURCES and settings.sources_dir.is_dir():
        if (settings.home / SOURCES).exists():
            raise BackupError(
                f"the sources are read from {settings.sources_dir}, and {settings.home / SOURCES} exists too; "
                "remove one of them"
            )
        yield SOURCES, settings.sources_dir
        yield from below(settings.sources_dir, f"{SOURCES}/")


def _add(archive: tarfile.TarFile, name: str, path: Path) -> dict[str, Any]:
    """Add one file; gives its size and hash as they are in the archive."""
    member = archive.gettarinfo(str(path), name)
    member.type, member.linkname = tarfile.REGTYPE, ""
    if name.split("/", 1)[0] in _DAGSTER and _is_sqlite(path):
        with tempfile.TemporaryDirectory(dir=Path(str(archive.fileobj.name)).parent) as folder:  # type: ignore[union-attr]
            copy = Path(folder) / "copy.db"
            with closing(sqlite3.connect(path)) as live, closing(sqlite3.connect(copy)) as still:
                live.backup(still)
            member.size = copy.stat().st_size
            with copy.open("rb") as file:
                return _stream(archive, member, file)
    with path.open("rb") as file:
        before = os.fstat(file.fileno())
        member.size = before.st_size
        entry = _stream(archive, member, file)
        after = path.stat()
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise BackupError(f"{path} changed while it was backed up; see what writes to it, and back up again")
    return entry


def _stream(archive: tarfile.TarFile, member: tarfile.TarInfo, file: IO[bytes]) -> dict[str, Any]:
    hashing = _Hashing(file)
    archive.addfile(member, hashing)
    return {"size": member.size, "sha256": hashing.digest.hexdigest()}


class _Hashing:
    """A file that is hashed as it is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        chunk = self._file.read(size)
        self.digest.update(chunk)
        return chunk


def _unpack(source: Path, folder: Path) -> dict[str, Any]:
    """Unpack everything, then hold it against the manifest."""
    files: dict[str, dict[str, Any]] = {}
    links: dict[str, str] = {}
    content: dict[str, Any] | None = None
    with tarfile.open(source, "r|*") as archive:
        for member in archive:
            place = _inside(folder, member.name)
            if member.name == MANIFEST and member.isfile():
                content = json.loads(_reader(archive, member).read())
            elif member.isdir():
                place.mkdir(exist_ok=True)
            elif member.issym():
                _inside(folder, str(PurePosixPath(member.name).parent / member.linkname))
                place.symlink_to(member.linkname)
                links[member.name] = member.linkname
            elif member.isfile():
                files[member.name] = _unpack_file(archive, member, place)
            else:
                raise BackupError(f"{source} holds {member.name}, which is no file, folder or link: it is no back-up")
    if content is None:
        raise BackupError(f"{source} has no {MANIFEST} at its end: it was cut off, or is no back-up")
    if content.get("format") != FORMAT:
        raise BackupError(f"{source} was written by another version of this software")
    if damaged := sorted(
        name for name in files.keys() | content["files"] if files.get(name) != content["files"].get(name)
    ):
        raise BackupError(
            f"{source} is damaged: {', '.join(damaged[:5])}{' …' if len(damaged) > 5 else ''} "
            f"({len(damaged)} of {len(content['files'])} files); nothing was restored"
        )
    if links != content["links"]:
        raise BackupError(f"{source} is damaged: its links are not those of its manifest; nothing was restored")
    return content


def _unpack_file(archive: tarfile.TarFile, member: tarfile.TarInfo, place: Path) -> dict[str, Any]:
    digest, size = hashlib.sha256(), 0
    reader = _reader(archive, member)
    with place.open("xb") as file:
        while chunk := reader.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
            file.write(chunk)
    place.chmod(member.mode & 0o777)
    os.utime(place, (member.mtime, member.mtime))
    return {"size": size, "sha256": digest.hexdigest()}


def _reader(archive: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    reader = archive.extractfile(member)
    assert reader is not None
    return reader


def _inside(folder: Path, name: str) -> Path:
    place = Path(os.path.normpath(folder / name))
    if Path(name).is_absolute() or not place.is_relative_to(folder):
        raise BackupError(f"{name} would be restored outside of the home: this is no back-up to trust")
    return place


def _is_sqlite(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_SQLITE)) == _SQLITE


def _current(settings: Settings) -> str | None:
    link = settings.serving_dir / "current"
    return link.readlink().name if link.is_symlink() else None


def _summary(path: Path, content: Mapping[str, Any]) -> Backup:
    return Backup(
        path=path,
        made_at=content["made_at"],
        files=len(content["files"]),
        bytes=sum(entry["size"] for entry in content["files"].values()),
        run_id=content["current"],
        has_key=HMAC_KEY_FILE in content["files"],
        versions=content["versions"],
    )
