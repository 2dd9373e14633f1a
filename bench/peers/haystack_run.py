"""Haystack over a folder of files: converters, DocumentSplitter, FastEmbed, Pgvector.

Runs in the environment of `make bench-peers`. Prints one line of JSON: passages and seconds, from
the first file read to the last row stored; loading the model is over before.
"""

import json
import time
from pathlib import Path

from arguments import parsed
from haystack import Document, Pipeline
from haystack.components.converters import HTMLToDocument, PyPDFToDocument, TextFileToDocument
from haystack.components.joiners import DocumentJoiner
from haystack.components.preprocessors import DocumentSplitter
from haystack.components.routers import FileTypeRouter
from haystack.components.writers import DocumentWriter
from haystack.utils import Secret
from haystack_integrations.components.embedders.fastembed import FastembedDocumentEmbedder
from haystack_integrations.document_stores.pgvector import PgvectorDocumentStore

DIMENSIONS = 384
TOKENS_PER_WORD = 4 / 3  # the splitter counts words; so it makes passages of about the same size
CONVERTERS = {
    "text/html": HTMLToDocument,
    "application/pdf": PyPDFToDocument,
    "text/plain": TextFileToDocument,
    "text/markdown": TextFileToDocument,
}


def main() -> None:
    given = parsed()
    embedder = FastembedDocumentEmbedder(
        model=given.model, progress_bar=False, local_files_only=True,
        model_kwargs={"specific_model_path": str(given.model_folder)},
    )  # fmt: skip
    embedder.warm_up()
    embedder.run([Document(content="warm up")])
    pipeline = assembled(given, embedder=embedder)
    paths = sorted(Path(given.folder).iterdir())
    started = time.perf_counter()
    found = pipeline.run({"router": {"sources": paths}})
    seconds = time.perf_counter() - started
    print(json.dumps({"passages": found["writer"]["documents_written"], "seconds": seconds}))


def assembled(given: object, *, embedder: FastembedDocumentEmbedder) -> Pipeline:
    store = PgvectorDocumentStore(
        connection_string=Secret.from_token(given.database_url),
        embedding_dimension=DIMENSIONS, recreate_table=True,
    )  # fmt: skip
    length = int(given.chunk_tokens / TOKENS_PER_WORD)
    pipeline = Pipeline()
    pipeline.add_component("router", FileTypeRouter(mime_types=list(CONVERTERS)))
    pipeline.add_component("joiner", DocumentJoiner())
    pipeline.add_component("splitter", DocumentSplitter(split_by="word", split_length=length))
    pipeline.add_component("embedder", embedder)
    pipeline.add_component("writer", DocumentWriter(document_store=store))
    for number, (media_type, converter) in enumerate(CONVERTERS.items()):
        pipeline.add_component(f"converter{number}", converter())
        pipeline.connect(f"router.{media_type}", f"converter{number}.sources")
        pipeline.connect(f"converter{number}.documents", "joiner.documents")
    for sender, receiver in (("joiner", "splitter"), ("splitter", "embedder")):
        pipeline.connect(f"{sender}.documents", f"{receiver}.documents")
    pipeline.connect("embedder.documents", "writer.documents")
    return pipeline


if __name__ == "__main__":
    main()
