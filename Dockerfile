# The engine in one image: the API (`serve`), the workers (`work`) and the operator's commands.
# No secret goes in: build arguments are public, and everything else is set when it runs.

FROM python:3.11-slim-bookworm AS build

# Where pip looks, if not at its default. Used in this stage only; do not put credentials in it.
ARG PIP_INDEX_URL
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1
WORKDIR /build

# Runtime dependencies first, so that a change of the code does not install them again. The lock
# file constrains: it also names development tools, and those stay out.
COPY pyproject.toml requirements.lock ./
RUN python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" > runtime.txt \
    && python -m venv /opt/rag-engine \
    && /opt/rag-engine/bin/pip install -c requirements.lock pip -r runtime.txt \
    && python -m venv /opt/builder \
    && /opt/builder/bin/pip install -c requirements.lock hatchling

COPY README.md LICENSE schema.sql ./
COPY engine ./engine
COPY workers ./workers
RUN /opt/builder/bin/pip wheel --no-deps --no-build-isolation --wheel-dir wheels . \
    && /opt/rag-engine/bin/pip install --no-deps wheels/*.whl

# A model to bake in, by name. Empty: `rag-engine models pull` brings it into the data volume.
ARG PULL_MODEL=""
RUN mkdir -p /data/models \
    && if [ -n "$PULL_MODEL" ]; then \
         RAG_ENGINE_DATA_DIR=/data /opt/rag-engine/bin/rag-engine models pull "$PULL_MODEL"; \
       fi


FROM python:3.11-slim-bookworm

# The sandbox of the workers filters system calls with it.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends libseccomp2 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --user-group --no-create-home --home-dir /var/lib/rag-engine \
         --shell /usr/sbin/nologin rag-engine

COPY --from=build /opt/rag-engine /opt/rag-engine
COPY --from=build --chown=10001:10001 /data /var/lib/rag-engine

ENV PATH=/opt/rag-engine/bin:$PATH \
    PIP_NO_CACHE_DIR=1 \
    PYTHONUNBUFFERED=1 \
    RAG_ENGINE_DATA_DIR=/var/lib/rag-engine \
    RAG_ENGINE_HOST=0.0.0.0
USER 10001:10001
WORKDIR /var/lib/rag-engine
VOLUME /var/lib/rag-engine
EXPOSE 8000

# For the API. compose.yaml gives the workers a check of their own.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen('http://127.0.0.1:' + os.environ.get('RAG_ENGINE_PORT', '8000') + '/healthz', timeout=4)"]

ENTRYPOINT ["rag-engine"]
CMD ["serve"]
