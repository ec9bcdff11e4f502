"""Uploaded files, with the attributes and methods of werkzeug's FileStorage and of Starlette's UploadFile."""

from __future__ import annotations

from io import BytesIO

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO, Any, Dict, Generator, Iterator, Optional, Union


class Content(bytes):
    """Bytes that may be awaited: `f.read()` and `await f.read()` both give the content."""

    def __await__(self) -> Generator[Any, None, bytes]:
        yield from ()
        return bytes(self)


class Done:
    """The result of a method that may be awaited."""

    def __await__(self) -> Generator[Any, None, None]:
        yield from ()


class File:
    """One uploaded file: `filename`, `content_type`, `headers`, `size`, `file` (a stream), `read()`, `save()`."""

    def __init__(self, name: str, filename: Optional[str], content_type: Optional[str], data: Any) -> None:
        self.name = name
        self.filename = filename
        self.content_type = content_type or "application/octet-stream"
        self.mimetype = self.content_type.partition(";")[0].strip()
        self.size = self.content_length = len(data)
        self.file = self.stream = BytesIO(data)
        self.headers: Dict[str, str] = {"content-type": self.content_type}

    def read(self, size: int = -1) -> Content:
        """Return the next `size` bytes, all that is left by default; may be awaited."""
        return Content(self.file.read(size))

    def seek(self, offset: int, whence: int = 0) -> Done:
        """Move to a position; may be awaited."""
        self.file.seek(offset, whence)
        return Done()

    def close(self) -> Done:
        """Free the content; may be awaited."""
        self.file.close()
        return Done()

    def save(self, target: Union[str, Any, IO[bytes]], buffer_size: int = 65536) -> None:
        """Write the content to a path or an open file."""
        if hasattr(target, "write"):
            target.write(self.file.read())
            return
        with open(target, "wb") as out:
            out.write(self.file.read())

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "file":
            raise AttributeError(name)
        return getattr(self.file, name)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.file)

    def __repr__(self) -> str:
        return f"<File {self.filename!r} ({self.content_type})>"
