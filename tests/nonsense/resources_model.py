"""What a customer must see: a few dictionaries that know nothing of HTTP or of rows.

Every change of the engine has its twin here; the machine compares the two after each step.
"""

from dataclasses import dataclass, field


@dataclass
class SourceModel:
    """`file_id` of an upload or a text, else it has a URL. `refreshes` is its version."""

    name: str
    file_id: str | None = None
    url: str | None = None
    folder_id: str | None = None
    refreshes: int = 0
    indexes: set[str] = field(default_factory=set)


@dataclass
class RagModel:
    name: str
    description: str = ""
    sources: dict[str, SourceModel] = field(default_factory=dict)


@dataclass
class CustomerModel:
    """Dictionaries keep the order in which things were made, which is that of lists."""

    rags: dict[str, RagModel] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    folders: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    home_id: str | None = None  # the default knowledge base
    gone: set[tuple[str, str]] = field(default_factory=set)  # what has been deleted: kind and id

    def sources(self) -> dict[str, SourceModel]:
        return {key: each for rag in self.rags.values() for key, each in rag.sources.items()}

    def rag_of(self, source_id: str) -> str:
        return next(key for key, rag in self.rags.items() if source_id in rag.sources)

    def uses(self, file_id: str) -> list[str]:
        return [key for key, each in self.sources().items() if each.file_id == file_id]

    def remove_source(self, source_id: str) -> None:
        rag_id = self.rag_of(source_id)
        self.rags[rag_id].sources.pop(source_id)
        self.gone.add((f"rags/{rag_id}/sources", source_id))
        self.gone.add(("v1/convai/knowledge-base", source_id))
        # A file that came with it goes with the sweep, which nobody runs here.

    def remove_file(self, file_id: str) -> None:
        for source_id in self.uses(file_id):
            self.rags[self.rag_of(source_id)].sources.pop(source_id)
            self.gone.add(("v1/convai/knowledge-base", source_id))
        self.files.pop(file_id)
        self.gone.add(("storage_files", file_id))

    def remove_rag(self, rag_id: str) -> None:
        for source_id in list(self.rags[rag_id].sources):
            self.remove_source(source_id)
        self.rags.pop(rag_id)
        self.gone.add(("rags", rag_id))
        if rag_id == self.home_id:
            self.home_id = None

    def children(self, folder_id: str | None) -> set[str]:
        """The entries that lie directly in a folder, None for the root."""
        documents = {k for k, each in self.sources().items() if each.folder_id == folder_id}
        return documents | {k for k, (_, parent) in self.folders.items() if parent == folder_id}

    def below(self, folder_id: str) -> set[str]:
        """All folders in a folder, itself included."""
        found = {folder_id}
        for key in self.children(folder_id) & set(self.folders):
            found |= self.below(key)
        return found

    def remove_folder(self, folder_id: str) -> None:
        inside = self.below(folder_id)
        for source_id, each in list(self.sources().items()):
            if each.folder_id in inside:
                self.remove_source(source_id)
        for key in inside:
            self.folders.pop(key)
            self.gone.add(("v1/convai/knowledge-base", key))

    def status(self, rag_id: str) -> str:
        """Of a RAG while nobody works."""
        return "processing" if self.rags[rag_id].sources else "pending"
