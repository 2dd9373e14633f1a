// The official JavaScript SDK from a file to its chunks and back to nothing, both ways to an index.
// Reads BASE_URL and API_KEY from the environment; starter.py gives them. Throws at the first
// answer that is not as it should be.

import assert from "node:assert/strict";
import { setTimeout as pause } from "node:timers/promises";

import { ElevenLabsClient, ElevenLabsError } from "@elevenlabs/elevenlabs-js";

const MODEL = "e5_mistral_7b_instruct";
const OTHER_MODEL = "multilingual_e5_large_instruct";
const DEADLINE = Date.now() + 60_000;
const TEXT = Array.from(
  { length: 60 },
  (_, n) => `Shelf number ${n} of the archive holds ${n * 3} boxes of letters.`,
).join("\n");

const client = new ElevenLabsClient({
  baseUrl: process.env.BASE_URL,
  apiKey: process.env.API_KEY,
});
const knowledgeBase = client.conversationalAi.knowledgeBase;
const { documents, document } = knowledgeBase;

async function until(succeeded, ask) {
  let progress = 0;
  for (;;) {
    const index = await ask();
    if (succeeded(index.status)) return index;
    assert.ok(["created", "processing"].includes(index.status), `status ${index.status}`);
    assert.ok(index.progressPercentage >= progress, "progress fell");
    assert.ok(Date.now() < DEADLINE, "not indexed in time");
    progress = index.progressPercentage;
    await pause(100);
  }
}

async function chunksOf(id, embeddingModel, pageSize) {
  const chunks = [];
  let cursor;
  do {
    const page = await documents.chunks.list(id, { embeddingModel, pageSize, cursor });
    chunks.push(...page.chunks);
    cursor = page.nextCursor ?? undefined;
  } while (cursor);
  return chunks;
}

// Each is a piece of the text, and behind the end of one nothing but blanks is left out.
function assertCovered(pieces) {
  let end = 0;
  for (const piece of pieces) {
    const start = TEXT.indexOf(piece);
    assert.ok(start >= 0, `not in the text: ${piece}`);
    assert.equal(TEXT.slice(end, start).trim(), "", "something is in no chunk");
    assert.ok(start + piece.length > end, "a chunk has nothing new");
    end = start + piece.length;
  }
  assert.equal(TEXT.slice(end).trim(), "", "the end is in no chunk");
}

async function refused(call, statusCode) {
  await assert.rejects(call, (error) => {
    assert.ok(error instanceof ElevenLabsError, String(error));
    assert.equal(error.statusCode, statusCode);
    assert.ok(error.body.detail);
    return true;
  });
}

const file = new File([TEXT], "archive.txt", { type: "text/plain" });
const { id, name } = await documents.createFromFile({ file, name: "Archive" });
assert.equal(name, "Archive");
console.log(`created ${id} from a file`);

const read = await documents.get(id);
assert.equal(read.type, "file");
assert.equal(read.filename, "archive.txt");
assert.equal(read.metadata.sizeBytes, new TextEncoder().encode(TEXT).length);

const isDone = (status) => status === "succeeded";
const index = await until(isDone, async () => {
  const items = [{ documentId: id, createIfMissing: true, model: MODEL }];
  const answers = await knowledgeBase.getOrCreateRagIndexes({ items });
  assert.equal(answers[id].status, "success");
  return answers[id].data;
});
assert.equal(index.progressPercentage, 100);
assert.ok(index.documentModelIndexUsage.usedBytes > 0);
const other = await until(isDone, () => document.computeRagIndex(id, { model: OTHER_MODEL }));
assert.notEqual(other.id, index.id);
console.log(`indexed under ${index.model} and ${other.model}`);

const whole = await chunksOf(id, MODEL, 30);
assert.ok(whole.length > 1);
assert.deepEqual(await chunksOf(id, MODEL, 1), whole);
assert.equal(new Set(whole.map((chunk) => chunk.id)).size, whole.length);
assertCovered(whole.map((chunk) => chunk.content));
assert.deepEqual(await documents.chunk.get(id, whole[0].id, { embeddingModel: MODEL }), whole[0]);
console.log(`listed ${whole.length} chunks that cover the text`);

await refused(() => knowledgeBase.getOrCreateRagIndexes({ items: [] }), 422);
await documents.delete(id);
await refused(() => documents.get(id), 404);
const left = await knowledgeBase.list();
assert.equal(left.documents.length, 0);
console.log("deleted it; nothing is left");
