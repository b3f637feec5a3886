"""Where files lie: in folders of this machine, or in object storage through fsspec; which there are, and their bytes.

An object that was landed is known again by the version that its storage tells (ETag, size, time), without being
downloaded. Others are downloaded one at a time beside the stream's landing and removed when they were read. Does not
belong here: what stands in a file (``files``).
"""

from __future__ import annotations

import fnmatch
import glob
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import fsspec
from pydantic import Field

from orchestration.contracts.mapping import StrictModel
from orchestration.settings import Settings
from orchestration.sources.config import Hidden, Secret, SourceConfig
from orchestration.sources.errors import ConfigError, SourceError, one_line
from orchestration.sources.landing import DOWNLOADS

_PACKAGES = {
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "abfs": "adlfs",
    "abfss": "adlfs",
    "az": "adlfs",
    "oss": "ossfs",
    "sftp": "paramiko",
}
_VERSION = ("md5Hash", "ETag", "etag", "LastModified", "last_modified", "updated", "mtime", "created")
"""What storages call the hash of an object's content, else the time of its last change; the first one counts."""


class FilesConnection(StrictModel):
    """``connection`` of a source of type ``files``; only object storage needs one.

    Attributes:
        key: Access key, as ``{env: NAME}`` or ``{file: path}``.
        secret: Secret of the access key.
        token: Session token of temporary credentials.
        endpoint_url: Address of a server that speaks S3, if it is not Amazon's.
        region: Region of the bucket.
        options: What the storage's fsspec package takes besides; values may be ``{env: NAME}``.
    """

    key: Hidden | None = None
    secret: Hidden | None = None
    token: Hidden | None = None
    endpoint_url: str | None = None
    region: str | None = None
    options: dict[str, str | Secret] = Field(default_factory=dict)


@dataclass(frozen=True)
class Listed:
    """A file that is there.

    Attributes:
        name: Name below the fixed part of the pattern.
        location: Path or URL, as messages name it.
        version: What its storage tells of its content without giving it; None where only the content tells.
        seen: Size and time; a file that is being written shows others a minute later.
    """

    name: str
    location: str
    version: str | None = None
    seen: str = ""


@dataclass(frozen=True)
class SourceFile:
    """A file whose bytes are on this machine.

    Attributes:
        name: Name below the fixed part of the pattern, that of the member included.
        location: Path or URL, as messages name it.
        local: Where the bytes are.
        member: Which file of a zip archive of several, if it is one.
    """

    name: str
    location: str
    local: Path
    member: str | None = None

    @classmethod
    def of(cls, path: Path) -> SourceFile:
        """A file of this machine by itself."""
        return cls(path.name, str(path), path)

    def __str__(self) -> str:
        return f"{self.location} ({self.member})" if self.member else self.location

    @property
    def suffixes(self) -> list[str]:
        """Endings of its name, in lower case."""
        return [ending.lower() for ending in PurePosixPath(self.member or self.location).suffixes]

    def open(self) -> BufferedReader:
        """Its bytes; those of the archive where it is a member."""
        return self.local.open("rb")


class Storage(Protocol):
    """Where the files of one stream lie."""

    def list(self) -> list[Listed]:
        """Files that match, by name; no byte of them is read."""

    def fetch(self, file: Listed) -> Any:
        """A context in which the bytes of the file are at the path that it gives."""

    def absence(self) -> str:
        """What is said where no file is found."""


def is_remote(path: str) -> bool:
    """Whether a path names object storage."""
    return "://" in path and not path.startswith("file://")


def storage_of(source: SourceConfig, stream: str, path: str, settings: Settings) -> Storage:
    """Where the files of a path lie.

    Raises:
        SourceError: a scheme that is unknown or whose package is missing.
        ConfigError: a secret that is not set.
    """
    if is_remote(path):
        return _Objects(source, stream, path, settings)
    return _Folder(f"{source.source}.{stream}", source.expand(path.removeprefix("file://"), settings.home))


def without(files: Sequence[Listed], patterns: Sequence[str]) -> list[Listed]:
    """Files whose name, with or without folders, matches none of the patterns."""
    return [
        file
        for file in files
        if not any(
            fnmatch.fnmatchcase(name, pattern)
            for pattern in patterns
            for name in (file.name, PurePosixPath(file.name).name)
        )
    ]


class _Folder:
    """Files of this machine."""

    def __init__(self, name: str, pattern: Path) -> None:
        self._name = name
        self._pattern = pattern
        self._fixed = pattern
        while glob.has_magic(str(self._fixed)):
            self._fixed = self._fixed.parent

    def list(self) -> list[Listed]:
        pattern = self._pattern
        if pattern.is_file():
            return [self._listed(pattern, pattern.name)]
        if self._fixed == pattern:
            if pattern.is_dir():
                raise SourceError(
                    f"{self._name}: {pattern} is a folder; name a file, or a pattern such as {pattern}/*.csv"
                )
            return []
        found = sorted(path for path in map(Path, glob.glob(str(pattern), recursive=True)) if path.is_file())  # noqa: PTH207
        return [self._listed(path, path.relative_to(self._fixed).as_posix()) for path in found]

    @staticmethod
    def _listed(path: Path, name: str) -> Listed:
        try:
            found = path.stat()
        except OSError:
            # It went between listing and looking; reading it says so.
            return Listed(name, str(path))
        return Listed(name, str(path), seen=f"{found.st_size}:{found.st_mtime_ns}")

    @contextmanager
    def fetch(self, file: Listed) -> Iterator[Path]:
        yield Path(file.location)

    def absence(self) -> str:
        pattern, fixed = self._pattern, self._fixed
        what = f"file {pattern} does not exist" if fixed == pattern else f"no file matches {pattern}"
        near = sorted(path.name for path in fixed.parent.iterdir())[:5] if fixed.parent.is_dir() else []
        return what + (f"; its folder holds {', '.join(near)}" if near and fixed == pattern else "")


class _Objects:
    """Objects of a storage that fsspec knows."""

    def __init__(self, source: SourceConfig, stream: str, url: str, settings: Settings) -> None:
        self._name = f"{source.source}.{stream}"
        self._place = str(source.path)
        self._url = url
        self._scheme = url.partition("://")[0]
        self._folder = settings.landing_dir / source.source / stream / DOWNLOADS
        options = _options(self._scheme, source, settings)
        try:
            self._storage, self._root = fsspec.core.url_to_fs(url, **options)
        except ImportError as error:
            package = _PACKAGES.get(self._scheme, "")
            raise SourceError(
                f"{self._name}: {self._scheme}:// needs the package {package or error}; pip install {package or 'it'}"
            ) from error
        except ValueError as error:
            raise SourceError(
                f"{self._name}: {self._scheme}:// is no storage that is known ({error}); use s3://, gs:// or abfs://"
            ) from error

    def list(self) -> list[Listed]:
        with self._errors(self._url):
            self._storage.invalidate_cache()
            if glob.has_magic(self._root):
                found: Mapping[str, Any] = self._storage.glob(self._root, detail=True)
            else:
                found = {self._root: self._storage.info(self._root)} if self._storage.exists(self._root) else {}
            if not found:
                # A bucket that is not there must not look like one without files.
                self._storage.ls(self._root.lstrip("/").partition("/")[0])
        fixed = PurePosixPath(self._root)
        while glob.has_magic(str(fixed)):
            fixed = fixed.parent
        parent = fixed.parent if str(fixed) == self._root else fixed
        listed = []
        for path, info in sorted(found.items()):
            # A folder of object storage is an empty object whose name ends with a slash.
            if info.get("type") != "directory" and not path.endswith("/"):
                version = _version(info)
                name = PurePosixPath(path).relative_to(parent).as_posix()
                listed.append(Listed(name, self._storage.unstrip_protocol(path), version, version))
        return listed

    @contextmanager
    def fetch(self, file: Listed) -> Iterator[Path]:
        path = self._folder / PurePosixPath(file.name).name
        # What a killed load left here is of no use.
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        try:
            inner = self._storage._strip_protocol(file.location)
            with self._errors(file.location):
                before = _version(self._storage.info(inner))
                self._storage.get_file(inner, str(path))
                self._storage.invalidate_cache()
                after = _version(self._storage.info(inner))
            if after != before:
                raise SourceError(
                    f"{self._name}: {file.location} changed while it was read; nothing was loaded, try again",
                    transient=True,
                )
            yield path
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    def absence(self) -> str:
        return f"no object matches {self._url}" if glob.has_magic(self._url) else f"{self._url} does not exist"

    @contextmanager
    def _errors(self, location: str) -> Iterator[None]:
        """Faults of the storage; its packages raise errors of many families."""
        try:
            yield
        except SourceError:
            raise
        except FileNotFoundError as error:
            raise SourceError(
                f"{self._name}: {location} is not there ({one_line(error)}); correct bucket and path in {self._place}"
            ) from error
        except Exception as error:
            kind = type(error).__name__
            if isinstance(error, PermissionError) or "Credential" in kind:
                raise SourceError(
                    f"{self._name}: {location} may not be read ({kind}: {one_line(error)}); correct connection.key and "
                    f"connection.secret in {self._place}, or let the key list the bucket and get its objects"
                ) from error
            raise SourceError(
                f"{self._name}: {location} cannot be read ({kind}: {one_line(error)}); try again when the storage "
                f"answers, and look at connection in {self._place}",
                transient=True,
            ) from error


def _options(scheme: str, source: SourceConfig, settings: Settings) -> dict[str, Any]:
    """What fsspec takes for a storage."""
    connection = source.connection if isinstance(source.connection, FilesConnection) else FilesConnection()
    options: dict[str, Any] = {name: source.reveal(value, settings.home) for name, value in connection.options.items()}
    given = {name: getattr(connection, name) for name in ("key", "secret", "token")}
    options |= {name: source.reveal(value, settings.home) for name, value in given.items() if value is not None}
    if scheme in {"s3", "s3a"}:
        if connection.endpoint_url:
            options["endpoint_url"] = connection.endpoint_url
        if connection.region:
            options["client_kwargs"] = {"region_name": connection.region}
        options |= {"use_listings_cache": False, "skip_instance_cache": True}
    elif connection.endpoint_url or connection.region:
        raise ConfigError(
            f"{source.path}: connection.endpoint_url and connection.region are for s3://; put what {scheme}:// takes "
            "under connection.options"
        )
    return options


def _version(info: Mapping[str, Any]) -> str:
    """What a storage tells of an object's content, in one text."""
    told = next((str(info[name]).strip('"') for name in _VERSION if info.get(name) is not None), "")
    return f"{info.get('size')}:{told}"


__all__ = ["FilesConnection", "Listed", "SourceFile", "Storage", "is_remote", "storage_of", "without"]
