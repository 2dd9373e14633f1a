-- rag-engine: everything the engine knows, in reading order. Rows are the truth, Redis only rings.
--
-- Idempotent: `serve`, `work` and `up` apply it under an advisory lock. An older database is brought
-- up by the numbered steps in engine/store/migrations, a newer one is refused. Tests hold that this
-- file and the steps end in the same schema.
--
-- Conventions: tables are plural; times end in _at and come from the database's clock; `position`
-- orders what was made in one transaction; text with a named CHECK instead of enum types. The names
-- of constraints are API: engine/store maps them to errors.

CREATE EXTENSION IF NOT EXISTS vector;

CREATE TABLE IF NOT EXISTS schema_versions (
    version    integer PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now()
);

-- What signed links are signed with: made once, so that every process of the engine agrees.
CREATE TABLE IF NOT EXISTS signing_keys (
    id         smallint PRIMARY KEY DEFAULT 1 CONSTRAINT signing_keys_one CHECK (id = 1),
    key        bytea NOT NULL
);
INSERT INTO signing_keys (key)
SELECT sha256(decode(replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex'))
ON CONFLICT DO NOTHING;

-- Who may do what. The engine's login role takes one of these after connecting (SET ROLE):
--   rag_api       answers requests; sees one customer, named at the start of each transaction
--   rag_worker    ingests and sweeps for all customers
--   rag_operator  the operator's commands and the metrics
-- Roles belong to the whole cluster, so another database may have made them already.
DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['rag_api', 'rag_worker', 'rag_operator'] LOOP
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;
        END;
        IF NOT pg_has_role(current_user, wanted, 'SET') THEN
            EXECUTE format('GRANT %I TO CURRENT_USER', wanted);
        END IF;
    END LOOP;
END
$$;


-- Customers and their keys -----------------------------------------------------------------------

CREATE TABLE IF NOT EXISTS customers (
    id         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    position   bigint GENERATED ALWAYS AS IDENTITY,
    name       text NOT NULL,
    is_first   boolean NOT NULL DEFAULT false,  -- the one that the bootstrap key speaks for
    created_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz            -- purge has begun: nothing of it is served any more
);
CREATE UNIQUE INDEX IF NOT EXISTS customers_first ON customers (is_first) WHERE is_first;

-- The token is shown once and never stored: only its SHA-256 and its first 11 characters.
CREATE TABLE IF NOT EXISTS accesskeys (
    id          uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    position    bigint GENERATED ALWAYS AS IDENTITY,
    customer_id uuid NOT NULL REFERENCES customers (id),
    name        text NOT NULL DEFAULT '',
    prefix      text NOT NULL,
    token_hash  bytea NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    expires_at  timestamptz
);
-- store.accesskeys.find
CREATE INDEX IF NOT EXISTS accesskeys_by_hash ON accesskeys (token_hash);
-- store.accesskeys.page
CREATE INDEX IF NOT EXISTS accesskeys_by_customer ON accesskeys (customer_id, created_at, position);

-- The first answer to each request that came with an Idempotency-Key: made in the transaction that
-- did what was asked, so that both are there or none. Of the key only its SHA-256 is kept.
CREATE TABLE IF NOT EXISTS idempotency_keys (
    customer_id  uuid NOT NULL REFERENCES customers (id),
    key_hash     bytea NOT NULL,
    request_hash bytea NOT NULL,
    answer       bytea NOT NULL DEFAULT '',
    created_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (customer_id, key_hash)
);
-- store.idempotency.forget
CREATE INDEX IF NOT EXISTS idempotency_keys_by_age ON idempotency_keys (created_at);


-- Bytes ------------------------------------------------------------------------------------------

-- One row for each content of a customer. Upload and purge lock it alike, so that bytes are never
-- removed while somebody relies on them. touched_at: a row that nothing refers to goes an hour later.
CREATE TABLE IF NOT EXISTS blobs (
    customer_id uuid NOT NULL REFERENCES customers (id),
    sha256      bytea NOT NULL CONSTRAINT blobs_sha256_length CHECK (octet_length(sha256) = 32),
    file_bytes  bigint NOT NULL,
    touched_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (customer_id, sha256)
);
-- store.blobs.unused
CREATE INDEX IF NOT EXISTS blobs_by_touched ON blobs (touched_at);
-- store.quotas.stored_bytes, an index-only scan
CREATE INDEX IF NOT EXISTS blobs_by_customer ON blobs (customer_id) INCLUDE (file_bytes);

-- An upload, or a text that was sent as one. `kept`: made by its own POST, stays until its own
-- DELETE; the others go with their last source.
CREATE TABLE IF NOT EXISTS files (
    id          uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    position    bigint GENERATED ALWAYS AS IDENTITY,
    customer_id uuid NOT NULL REFERENCES customers (id),
    type        text NOT NULL DEFAULT 'rag',
    name        text NOT NULL,
    filename    text NOT NULL,
    media_type  text NOT NULL,
    file_bytes  bigint NOT NULL,
    sha256      bytea NOT NULL,
    kept        boolean NOT NULL,
    written     boolean NOT NULL DEFAULT false,  -- a text sent in a request, not an uploaded file
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    deleted_at  timestamptz,           -- gone for every reader; the row goes with its last source
    CONSTRAINT files_blob FOREIGN KEY (customer_id, sha256) REFERENCES blobs (customer_id, sha256)
);
-- store.files.page
CREATE INDEX IF NOT EXISTS files_by_customer ON files (customer_id, created_at, position)
    WHERE deleted_at IS NULL;
-- store.purge
CREATE INDEX IF NOT EXISTS files_going ON files (created_at) WHERE NOT kept;
-- store.blobs.unused
CREATE INDEX IF NOT EXISTS files_by_blob ON files (customer_id, sha256);


-- Knowledge bases --------------------------------------------------------------------------------

CREATE TABLE IF NOT EXISTS rags (
    id           uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    position     bigint GENERATED ALWAYS AS IDENTITY,
    customer_id  uuid NOT NULL REFERENCES customers (id),
    name         text NOT NULL,
    description  text NOT NULL DEFAULT '',
    profile_live uuid,                 -- how its chunks are made; the answers come from this one
    profile_next uuid,                 -- built beside it for all sources, until one switch
    is_default   boolean NOT NULL DEFAULT false,  -- where documents of the second door are added
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now(),
    deleted_at   timestamptz           -- gone for every reader; the sweep removes the rows
);
-- store.rags.page
CREATE INDEX IF NOT EXISTS rags_by_customer ON rags (customer_id, created_at, position)
    WHERE deleted_at IS NULL;
-- store.purge
CREATE INDEX IF NOT EXISTS rags_deleted ON rags (deleted_at) WHERE deleted_at IS NOT NULL;
-- store.changes.waiting
CREATE INDEX IF NOT EXISTS rags_changing ON rags (id) WHERE profile_next IS NOT NULL;

CREATE UNIQUE INDEX IF NOT EXISTS rags_default ON rags (customer_id)
    WHERE is_default AND deleted_at IS NULL;

-- A way of making chunks: model and chunker settings. Under a `public_model` name the second door
-- makes rag indexes; `embedding_model` is the engine's model that the name stood for at first use.
-- What a profile says never changes, and one that was retired is never live again.
CREATE TABLE IF NOT EXISTS profiles (
    id                   uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    customer_id          uuid NOT NULL REFERENCES customers (id),
    rag_id               uuid NOT NULL REFERENCES rags (id),
    embedding_model      text NOT NULL,
    public_model         text,
    chunk_tokens         integer NOT NULL,
    chunk_overlap_tokens integer NOT NULL,
    created_at           timestamptz NOT NULL DEFAULT now(),
    -- how many terms a usual chunk has, by which BM25 discounts longer ones: the same for all time,
    -- because it is part of every stored weight
    lexical_length       integer NOT NULL GENERATED ALWAYS AS (GREATEST(chunk_tokens * 2 / 3, 1)) STORED,
    filled               boolean NOT NULL DEFAULT false,  -- as profile_next: every text has its index
    retired_at           timestamptz   -- live no more, or given up before: the sweep removes it
);
CREATE INDEX IF NOT EXISTS profiles_by_rag ON profiles (rag_id);
-- store.retired
CREATE INDEX IF NOT EXISTS profiles_retired ON profiles (retired_at) WHERE retired_at IS NOT NULL;
CREATE UNIQUE INDEX IF NOT EXISTS profiles_public_once ON profiles (rag_id, public_model)
    WHERE public_model IS NOT NULL;

-- Folders order a customer's documents in the second door, across RAGs. Every change of the tree
-- takes the customer's folder lock (store.folders.lock), so that no two moves make a circle.
CREATE TABLE IF NOT EXISTS folders (
    id          uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    position    bigint GENERATED ALWAYS AS IDENTITY,
    customer_id uuid NOT NULL REFERENCES customers (id),
    parent_id   uuid CONSTRAINT folders_parent REFERENCES folders (id),
    name        text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT folders_not_itself CHECK (parent_id <> id)
);
-- store.folders: the children of a folder, and a customer's tree
CREATE INDEX IF NOT EXISTS folders_by_parent ON folders (customer_id, parent_id);
CREATE INDEX IF NOT EXISTS folders_by_parent_alone ON folders (parent_id);


-- The pipeline -----------------------------------------------------------------------------------
--
-- Two kinds of claimable rows, one shape. A source is fetched and extracted; an index is chunked,
-- embedded and stored. What they share:
--   state        what the outside sees
--   due_at       set: may be claimed from then on; NULL: nothing to do, or at work
--   attempt      goes up at every claim and every refresh, never down: the fence of all writes
--   lease_until  set while a worker holds the row; the heartbeat moves it, the sweep ends it
--   faults       the charge: how often this document itself failed in a way that may pass
--   alone        its worker died: attempts run with nothing beside them in their process, until one
--                gets further than any before
--   stage, done, total   progress of the attempt at work

CREATE TABLE IF NOT EXISTS sources (
    id            uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    position      bigint GENERATED ALWAYS AS IDENTITY,
    customer_id   uuid NOT NULL REFERENCES customers (id),
    rag_id        uuid NOT NULL REFERENCES rags (id),
    file_id       uuid CONSTRAINT sources_file REFERENCES files (id),
    url           text,
    url_key       bytea,               -- SHA-256 of the normalised URL; NULL where it may repeat
    name          text NOT NULL,
    name_given    boolean NOT NULL DEFAULT false,  -- by a person: a page's title does not replace it
    edit_id       uuid CONSTRAINT sources_edit REFERENCES files (id),  -- read instead of the origin
    folder_id     uuid CONSTRAINT sources_folder REFERENCES folders (id) ON DELETE SET NULL,
    attributes    jsonb NOT NULL DEFAULT '{}'      -- what its owner says about it, for filters
                  CONSTRAINT sources_attributes CHECK (jsonb_typeof(attributes) = 'object'),
    original_bytes bigint NOT NULL DEFAULT 0,      -- of what its newest text was read from

    -- pending     waits to be claimed           -> processing (claim)
    -- processing  a worker fetches and extracts, or its primary index is at work
    --                                           -> ready (finish) | error (fail)
    --                                           -> pending (postpone, lease expired, refresh)
    -- ready       its primary index answers     -> pending (refresh)
    --             with due_at set: a refresh failed and is tried again then
    -- error       nothing searchable, final     -> pending (refresh)
    state         text NOT NULL DEFAULT 'pending'
                  CONSTRAINT sources_state CHECK (state IN ('pending', 'processing', 'ready', 'error')),
    due_at        timestamptz DEFAULT now(),
    attempt       integer NOT NULL DEFAULT 0,
    lease_until   timestamptz,
    worker_id     uuid,
    faults        integer NOT NULL DEFAULT 0,
    alone         boolean NOT NULL DEFAULT false,
    stage         text,

    revision      integer NOT NULL DEFAULT 0,   -- of the newest committed document
    failure       jsonb,                        -- {code, message, retryable, remedy}
    refresh_failed boolean NOT NULL DEFAULT false,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now(),
    deleted_at    timestamptz,
    CONSTRAINT sources_origin CHECK (num_nonnulls(file_id, url) = 1),
    CONSTRAINT sources_held CHECK (lease_until IS NULL OR due_at IS NULL)
);
-- store.claims.claim_source: the oldest due row of each customer; store.turns.others_wait
CREATE INDEX IF NOT EXISTS sources_due ON sources (customer_id, due_at)
    WHERE due_at IS NOT NULL AND deleted_at IS NULL;
-- store.claims.alone_waits
CREATE INDEX IF NOT EXISTS sources_alone ON sources (due_at) WHERE alone AND due_at IS NOT NULL;
-- store.claims: running rows by customer; store.purge: the expired ones
CREATE INDEX IF NOT EXISTS sources_leased ON sources (customer_id, lease_until)
    WHERE lease_until IS NOT NULL;
-- store.rags: sources counted by state
CREATE INDEX IF NOT EXISTS sources_by_state ON sources (rag_id, state, updated_at)
    WHERE deleted_at IS NULL;
-- store.sources.page
CREATE INDEX IF NOT EXISTS sources_by_rag ON sources (rag_id, created_at, position);
CREATE UNIQUE INDEX IF NOT EXISTS sources_file_once ON sources (rag_id, file_id)
    WHERE deleted_at IS NULL AND file_id IS NOT NULL;
CREATE UNIQUE INDEX IF NOT EXISTS sources_url_once ON sources (rag_id, url_key)
    WHERE deleted_at IS NULL AND url_key IS NOT NULL;
CREATE INDEX IF NOT EXISTS sources_by_file ON sources (file_id) WHERE file_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS sources_by_edit ON sources (edit_id) WHERE edit_id IS NOT NULL;
-- store.entries: a folder's documents; and the foreign key
CREATE INDEX IF NOT EXISTS sources_by_folder ON sources (folder_id) WHERE folder_id IS NOT NULL;
-- store.entries: all documents of a customer
CREATE INDEX IF NOT EXISTS sources_by_customer ON sources (customer_id, created_at, position)
    WHERE deleted_at IS NULL;
-- store.purge
CREATE INDEX IF NOT EXISTS sources_deleted ON sources (deleted_at) WHERE deleted_at IS NOT NULL;

-- The canonical text of a source, one row a revision. For every chunk of it,
-- text[start:end] = chunk.text. `original_sha256` is the blob of what was fetched.
CREATE TABLE IF NOT EXISTS documents (
    source_id       uuid NOT NULL REFERENCES sources (id),
    revision        integer NOT NULL,
    customer_id     uuid NOT NULL,
    rag_id          uuid NOT NULL,
    title           text NOT NULL,
    language        text,
    media_type      text NOT NULL,
    text            text NOT NULL,
    blocks          bytea NOT NULL,            -- msgpack of models.Block, in order
    coverage        jsonb NOT NULL,
    original_sha256 bytea,
    created_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (source_id, revision),
    CONSTRAINT documents_blob FOREIGN KEY (customer_id, original_sha256)
        REFERENCES blobs (customer_id, sha256)
);
-- The customer comes last, here and in chunks_by_embedding_key: every statement names one, and the
-- planner would take an index that begins with it to read all that a customer has.
CREATE INDEX IF NOT EXISTS documents_by_blob ON documents (original_sha256, customer_id);

-- A source under a profile. A generation is one document revision under this profile; its chunks
-- are invisible until `generation_live` points to it.
CREATE TABLE IF NOT EXISTS indexes (
    id              uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    customer_id     uuid NOT NULL,
    rag_id          uuid NOT NULL,
    source_id       uuid NOT NULL REFERENCES sources (id),
    profile_id      uuid NOT NULL REFERENCES profiles (id),

    -- pending     waits to be claimed, or (due_at NULL) for its source's text
    --                                           -> processing (claim)
    -- processing  a worker chunks, embeds, stores -> ready (finish) | error (fail)
    --                                           -> pending (postpone, lease expired, new revision)
    -- ready       generation_live answers       -> pending (new revision)
    -- error       this revision failed          -> pending (new revision)
    state           text NOT NULL DEFAULT 'pending'
                    CONSTRAINT indexes_state CHECK (state IN ('pending', 'processing', 'ready', 'error')),
    due_at          timestamptz,
    attempt         integer NOT NULL DEFAULT 0,
    lease_until     timestamptz,
    worker_id       uuid,
    faults          integer NOT NULL DEFAULT 0,
    alone           boolean NOT NULL DEFAULT false,
    stage           text,
    done            integer NOT NULL DEFAULT 0,
    total           integer NOT NULL DEFAULT 0,

    generation      integer NOT NULL DEFAULT 0,  -- the document revision it is to be made from
    generation_live integer,                     -- the one that answers; NULL: none yet
    chunk_count     integer NOT NULL DEFAULT 0,  -- of the live generation
    retired         boolean NOT NULL DEFAULT false,  -- has chunks of older generations to remove
    ann_generation  integer,           -- newest one whose chunks are all in its profile's ANN table
    used_bytes      bigint NOT NULL DEFAULT 0,   -- under a public name: counts against the limit;
                                                 -- 0 once it has failed or was deleted
    failure         jsonb,
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT indexes_once UNIQUE (source_id, profile_id),
    CONSTRAINT indexes_held CHECK (lease_until IS NULL OR due_at IS NULL)
);
-- store.claims.claim_index, store.turns.others_wait
CREATE INDEX IF NOT EXISTS indexes_due ON indexes (customer_id, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS indexes_alone ON indexes (due_at) WHERE alone AND due_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS indexes_leased ON indexes (customer_id, lease_until)
    WHERE lease_until IS NOT NULL;
-- store.near.exact, store.vectors.search_library
CREATE INDEX IF NOT EXISTS indexes_by_profile ON indexes (profile_id);
-- store.changes.may_switch, store.changes.fill: what is still to be made, or failed
CREATE INDEX IF NOT EXISTS indexes_unbuilt ON indexes (profile_id)
    WHERE generation_live IS DISTINCT FROM generation;
-- store.near.approximate, store.annentries: what answers and has no ANN entries yet
CREATE INDEX IF NOT EXISTS indexes_without_entries ON indexes (profile_id)
    WHERE generation_live IS NOT NULL AND ann_generation IS DISTINCT FROM generation_live;
-- store.ragindexes.used_bytes: read from this index alone, however many there are
CREATE INDEX IF NOT EXISTS indexes_used ON indexes (customer_id, profile_id)
    INCLUDE (id, used_bytes) WHERE used_bytes > 0;
-- store.purge
CREATE INDEX IF NOT EXISTS indexes_retired ON indexes (updated_at) WHERE retired;

-- A stored passage with its vector, and all that made it. The vector has no fixed dimension, so that
-- models live side by side. MAIN keeps it inside the row (an exact scan that has to follow TOAST
-- pointers takes twice as long) and still lets rows over a page be stored.
CREATE TABLE IF NOT EXISTS chunks (
    index_id      uuid NOT NULL REFERENCES indexes (id),
    generation    integer NOT NULL,
    ordinal       integer NOT NULL,
    id            uuid NOT NULL DEFAULT gen_random_uuid(),
    customer_id   uuid NOT NULL,
    rag_id        uuid NOT NULL,
    source_id     uuid NOT NULL,
    profile_id    uuid NOT NULL,
    start_offset      integer NOT NULL,            -- code points into the document's text
    end_offset        integer NOT NULL,
    page          integer,
    tokens        integer NOT NULL,
    headings      text[] NOT NULL,
    text          text NOT NULL,
    embedding_key bytea NOT NULL,              -- SHA-256 of model, its version, embedded string
    embedding     halfvec NOT NULL,
    PRIMARY KEY (index_id, generation, ordinal),
    CONSTRAINT chunks_offsets CHECK (0 <= start_offset AND start_offset < end_offset)
);
ALTER TABLE chunks ALTER COLUMN embedding SET STORAGE MAIN;
-- store.chunks.reusable: an identical string under the same model is not embedded twice
CREATE INDEX IF NOT EXISTS chunks_by_embedding_key ON chunks (embedding_key, customer_id);

-- A large profile's chunks once more, in two tables of its own: ann_<number> (index_id, generation,
-- ordinal, vector_id) and ann_<number>_vectors (id, embedding of fixed dimensions) with an HNSW graph,
-- where a vector stands once however many chunks have it. Made and filled in the background
-- (store.ann), with a policy like those below. This row says that they may be asked.
CREATE SEQUENCE IF NOT EXISTS ann_numbers;
CREATE TABLE IF NOT EXISTS ann_tables (
    profile_id   uuid PRIMARY KEY,     -- no foreign key: the table is dropped after its profile
    customer_id  uuid NOT NULL,
    number       bigint NOT NULL CONSTRAINT ann_tables_number UNIQUE,
    entries      bigint NOT NULL,      -- ever put in
    dead_entries bigint NOT NULL DEFAULT 0,  -- of these taken out again: the graph still walks them
    built_at     timestamptz NOT NULL DEFAULT now()
);
-- store.purge.count
CREATE INDEX IF NOT EXISTS ann_tables_by_customer ON ann_tables (customer_id);


-- Words ------------------------------------------------------------------------------------------
--
-- The inverted index of a RAG's own profile, in segments that never change. A generation brings its
-- own segment in the transaction that makes it live; the worker's merge loop puts small ones
-- together and leaves out what is dead.

-- Up to 65,536 chunks, numbered from 0.
CREATE TABLE IF NOT EXISTS segments (
    id            bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    customer_id   uuid NOT NULL,
    profile_id    uuid NOT NULL CONSTRAINT segments_profile REFERENCES profiles (id),
    -- building    a merge writes it, in several transactions -> live, or removed when the merge died
    -- live        answers                                    -> replaced (a merge has put its chunks elsewhere)
    -- replaced    read by queries that began before; removed a little later
    state         text NOT NULL
                  CONSTRAINT segments_state CHECK (state IN ('building', 'live', 'replaced')),
    chunk_count   integer NOT NULL,
    analysers     text[] NOT NULL,       -- by which its terms were made, and a question is asked
    changed_at    timestamptz NOT NULL DEFAULT now()
);
-- store.postings.gathered
CREATE INDEX IF NOT EXISTS segments_live ON segments (profile_id, id) WHERE state = 'live';
-- store.merging.crowds: what came since the last look
CREATE INDEX IF NOT EXISTS segments_by_change ON segments (changed_at, profile_id)
    WHERE state = 'live';
-- store.merging.remove_replaced
CREATE INDEX IF NOT EXISTS segments_by_state ON segments (state, changed_at) WHERE state <> 'live';
CREATE INDEX IF NOT EXISTS segments_by_profile ON segments (profile_id);

-- Which chunks of a generation a segment's numbers stand for. A merge moves a member to another
-- segment under the same id.
CREATE TABLE IF NOT EXISTS segment_members (
    segment_id    bigint NOT NULL CONSTRAINT segment_members_segment REFERENCES segments (id),
    first_number  integer NOT NULL,      -- of its chunks in the segment
    chunk_count   integer NOT NULL,
    first_ordinal integer NOT NULL,      -- of its chunks in the generation
    id            bigint NOT NULL GENERATED BY DEFAULT AS IDENTITY,
    customer_id   uuid NOT NULL,
    profile_id    uuid NOT NULL,
    index_id      uuid NOT NULL,
    generation    integer NOT NULL,
    analyser      text NOT NULL,
    PRIMARY KEY (segment_id, first_number)
);
-- store.segments.bury_index, store.postings.gathered for some sources
CREATE INDEX IF NOT EXISTS segment_members_by_index ON segment_members (index_id);
-- store.postings.gathered: where the dead lie
CREATE INDEX IF NOT EXISTS segment_members_by_id ON segment_members (id);

-- Members whose source was deleted, or that a newer generation has taken the place of: from that
-- very transaction on they count neither as hits nor in the frequencies of terms.
CREATE TABLE IF NOT EXISTS dead_members (
    member_id     bigint NOT NULL,
    customer_id   uuid NOT NULL,
    profile_id    uuid NOT NULL,
    died_at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (customer_id, member_id)
);
-- store.postings.gathered
CREATE INDEX IF NOT EXISTS dead_members_by_profile ON dead_members (profile_id, member_id);
-- store.merging.decayed, store.merging.forget_dead
CREATE INDEX IF NOT EXISTS dead_members_by_age ON dead_members (died_at, profile_id);

-- Pages of a segment: neighbouring terms (64 bits of a hash each) with numbers and weights of their
-- chunks, as engine.inverted lays them out. EXTERNAL, because numbers do not compress and large
-- pages are read whole.
CREATE TABLE IF NOT EXISTS postings (
    segment_id    bigint NOT NULL CONSTRAINT postings_segment REFERENCES segments (id),
    first_term    bigint NOT NULL,
    last_term     bigint NOT NULL,
    customer_id   uuid NOT NULL,
    content       bytea NOT NULL,
    PRIMARY KEY (segment_id, first_term) INCLUDE (last_term)
);
ALTER TABLE postings ALTER COLUMN content SET STORAGE EXTERNAL;


-- Workers ----------------------------------------------------------------------------------------

-- One row a worker process, moved by its heartbeat; health and metrics read it.
CREATE TABLE IF NOT EXISTS workers (
    id           uuid PRIMARY KEY,
    host         text NOT NULL,
    pid          integer NOT NULL,
    started_at   timestamptz NOT NULL DEFAULT now(),
    heartbeat_at timestamptz NOT NULL DEFAULT now()
);


-- The second net -----------------------------------------------------------------------------------
--
-- Every statement of the API names its customer; these policies hold even if one forgets. FORCE binds
-- the owner too. NULLIF, because a pooled connection leaves '' behind; the sub-select, so that the
-- setting is read once a statement and not once a row.
DO $$
DECLARE
    name text;
    whose text := '(SELECT NULLIF(current_setting(''rag_engine.customer_id'', true), '''')::uuid)';
BEGIN
    FOREACH name IN ARRAY ARRAY['customers', 'accesskeys', 'idempotency_keys', 'blobs', 'files',
                                'rags', 'profiles', 'folders', 'sources', 'documents', 'indexes',
                                'chunks', 'ann_tables', 'segments', 'segment_members',
                                'dead_members', 'postings'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('DROP POLICY IF EXISTS own_rows ON %I', name);
        EXECUTE format('CREATE POLICY own_rows ON %I TO rag_api USING (%I = %s)', name,
                       CASE name WHEN 'customers' THEN 'id' ELSE 'customer_id' END, whose);
        EXECUTE format('DROP POLICY IF EXISTS all_rows ON %I', name);
        EXECUTE format('CREATE POLICY all_rows ON %I TO rag_worker, rag_operator USING (true)', name);
    END LOOP;
END
$$;

-- Foreign keys do not ask whose the row is that they point to: of what requests name, the API's
-- rows hang on rows of the same customer only. (Profiles and indexes are made from rows that were
-- read under these policies, partly in the statement that makes their parents; and a policy cannot
-- ask its own table for a folder's parent.)
DROP POLICY IF EXISTS own_parents ON sources;
CREATE POLICY own_parents ON sources AS RESTRICTIVE TO rag_api USING (true) WITH CHECK (
    EXISTS (SELECT FROM rags r WHERE r.id = rag_id)
    AND (file_id IS NULL OR EXISTS (SELECT FROM files f WHERE f.id = file_id))
    AND (edit_id IS NULL OR EXISTS (SELECT FROM files f WHERE f.id = edit_id))
    AND (folder_id IS NULL OR EXISTS (SELECT FROM folders f WHERE f.id = folder_id)));

-- Before a caller is known there is only a key: its hash opens just its own row.
DROP POLICY IF EXISTS presented_key ON accesskeys;
CREATE POLICY presented_key ON accesskeys FOR SELECT TO rag_api
    USING (token_hash = (SELECT decode(NULLIF(current_setting('rag_engine.token_hash', true), ''), 'hex')));

GRANT SELECT, INSERT, UPDATE, DELETE ON accesskeys, idempotency_keys, blobs, files, rags, profiles,
    folders, sources, indexes TO rag_api;
GRANT SELECT ON schema_versions, signing_keys, customers, documents, chunks, ann_tables, segments,
    segment_members, postings TO rag_api;
GRANT SELECT, INSERT ON dead_members TO rag_api;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO rag_operator;
-- A worker opens what strangers send. It makes no customer and no key, reads no hash of one and
-- nothing that links are signed with; of what closed customers leave it removes everything.
GRANT SELECT, INSERT, UPDATE, DELETE ON blobs, files, rags, profiles, folders, sources, documents,
    indexes, chunks, ann_tables, segments, segment_members, dead_members, postings, workers
    TO rag_worker;
GRANT SELECT ON schema_versions TO rag_worker;
GRANT SELECT, DELETE ON customers TO rag_worker;
GRANT SELECT (customer_id), DELETE ON accesskeys TO rag_worker;
GRANT SELECT, UPDATE (created_at), DELETE ON idempotency_keys TO rag_worker;
