"""LlamaIndex over a folder of files: IngestionPipeline, SentenceSplitter, FastEmbed, PGVectorStore.

Runs in the environment of `make bench-peers`. Prints one line of JSON: passages and seconds, from
the first file read to the last row stored; loading the model is over before.
"""

import json
import time

from arguments import parsed
from llama_index.core import SimpleDirectoryReader
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from llama_index.embeddings.fastembed import FastEmbedEmbedding
from llama_index.vector_stores.postgres import PGVectorStore

DIMENSIONS = 384


def main() -> None:
    given = parsed()
    where = given.database_url.partition("://")[2]
    store = PGVectorStore.from_params(
        connection_string=f"postgresql+psycopg2://{where}",
        async_connection_string=f"postgresql+asyncpg://{where}",
        table_name="peer", embed_dim=DIMENSIONS,
    )  # fmt: skip
    embedding = FastEmbedEmbedding(
        model_name=given.model, specific_model_path=str(given.model_folder), local_files_only=True
    )
    embedding.get_text_embedding("warm up")
    splitter = SentenceSplitter(chunk_size=given.chunk_tokens, chunk_overlap=0)
    pipeline = IngestionPipeline(transformations=[splitter, embedding], vector_store=store)
    started = time.perf_counter()
    documents = SimpleDirectoryReader(given.folder).load_data()
    nodes = pipeline.run(documents=documents)
    seconds = time.perf_counter() - started
    print(json.dumps({"passages": len(nodes), "seconds": seconds}))


if __name__ == "__main__":
    main()
