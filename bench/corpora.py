"""Documents that anyone can get again: manuals out of Debian's packages, by name and hash.

They are fetched with apt into a cache folder and never committed. What is measured with them stands
in the other modules.
"""

import gzip
import hashlib
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

CACHE = Path(__file__).parent / "cache"


class Corpus(NamedTuple):
    """`paths` in a fixed order; `sha256` over names and bytes, so that figures can be compared."""

    name: str
    paths: tuple[Path, ...]
    sha256: str

    @property
    def bytes(self) -> int:
        return sum(path.stat().st_size for path in self.paths)


class Part(NamedTuple):
    """Files of one package, by a pattern below its root."""

    package: str
    pattern: str


PARTS = {
    "html": (Part("postgresql-doc-15", "usr/share/doc/postgresql-doc-15/html/*.html"),),
    "pdf": (Part("octave-doc", "usr/share/doc/octave/octave.pdf"),),
    "text": (
        Part("nodejs-doc", "usr/share/doc/nodejs/api/*.md.gz"),
        Part("vim-runtime", "usr/share/vim/vim90/doc/usr_*.txt"),
        Part("python3.11-doc", "usr/share/doc/python3.11/html/_sources/tutorial/*.rst.txt"),
    ),
    "prose": (
        Part("python3.11-doc", "usr/share/doc/python3.11/html/_sources/faq/*.rst.txt"),
        Part("python3.11-doc", "usr/share/doc/python3.11/html/_sources/howto/*.rst.txt"),
        Part("developers-reference", "usr/share/developers-reference/_sources/*.rst.txt"),
        Part("debian-faq", "usr/share/doc/debian/FAQ/*.en.html"),
        Part("nodejs-doc", "usr/share/doc/nodejs/api/esm.md.gz"),
        Part("nodejs-doc", "usr/share/doc/nodejs/api/packages.md.gz"),
        Part("nodejs-doc", "usr/share/doc/nodejs/api/modules.md.gz"),
        Part("nodejs-doc", "usr/share/doc/nodejs/api/permissions.md.gz"),
    ),
}


def corpus(name: str, *, files_max: int | None = None) -> Corpus:
    """One of PARTS, fetched when it is not in the cache; at most `files_max` files, evenly spread.

    Raises SystemExit with what to do where there is no apt or the package is not to be had.
    """
    paths = [path for part in PARTS[name] for path in _files(part)]
    if files_max is not None and len(paths) > files_max:
        paths = [paths[index * len(paths) // files_max] for index in range(files_max)]
    return corpus_of(name, paths)


def corpus_of(name: str, paths: Iterable[Path]) -> Corpus:
    """These files."""
    paths = tuple(paths)
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return Corpus(name, paths, digest.hexdigest())


def pages_apart(given: Corpus, *, pages: range, per_file: int, folder: Path) -> Corpus:
    """The pages of a corpus of one PDF, in files of `per_file` pages under `folder`."""
    import pypdfium2

    source = pypdfium2.PdfDocument(given.paths[0])
    paths = []
    for start in range(pages.start, min(pages.stop, len(source)), per_file):
        target = pypdfium2.PdfDocument.new()
        target.import_pages(source, pages=list(range(start, min(start + per_file, pages.stop))))
        paths.append(folder / f"pages-{start + 1}.pdf")
        target.save(paths[-1])
    return given._replace(paths=tuple(paths))


def _files(part: Part) -> list[Path]:
    root = CACHE / part.package
    if not root.exists():
        _unpack(part.package, root)
    return sorted(_plain(path) for path in root.glob(part.pattern))


def _plain(path: Path) -> Path:
    """The file itself, or what is in it: Debian compresses some of its documents."""
    if path.suffix != ".gz":
        return path
    plain = CACHE / "plain" / path.stem
    if not plain.exists():
        plain.parent.mkdir(parents=True, exist_ok=True)
        plain.write_bytes(gzip.decompress(path.read_bytes()))
    return plain


def _unpack(package: str, root: Path) -> None:
    CACHE.mkdir(exist_ok=True)
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise SystemExit(
            f"The bench takes its documents from Debian's package {package}: needs apt."
        )
    got = subprocess.run(
        ["apt-get", "download", package], cwd=CACHE, capture_output=True, text=True, check=False
    )
    archives = sorted(CACHE.glob(f"{package}_*.deb"))
    if got.returncode or not archives:
        raise SystemExit(f"{package} is not to be had (`apt-get update` first?): {got.stderr}")
    unfinished = root.with_suffix(".unfinished")
    subprocess.run(["dpkg-deb", "-x", archives[-1], unfinished], check=True)
    unfinished.rename(root)


def written(folder: Path, *, texts: Sequence[str], per_file: int = 50) -> list[Path]:
    """Text files of `per_file` texts each."""
    paths = []
    for start in range(0, len(texts), per_file):
        path = folder / f"{start}.txt"
        path.write_text("\n\n".join(texts[start : start + per_file]))
        paths.append(path)
    return paths
