// What the official OpenAI client for Node does with the server that OPENAI_BASE_URL names.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { join } from "node:path";

const require = createRequire(join(process.env.OPENAI_NODE, "package.json"));
const OpenAI = require("openai").default ?? require("openai");

const client = new OpenAI({ maxRetries: 0 });
const messages = [{ role: "user", content: "Hello there" }];

let answer = await client.chat.completions.create({ model: "echo", messages });
assert.equal(answer.choices[0].message.content, "Hello there");
assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens);
answer = await client.chat.completions.create({ model: "vendor/model", messages, max_tokens: 20 });
assert.equal(answer.choices[0].message.content, "one two three");

for (const [model, text] of [["echo", "Hello there"], ["vendor/model", "one two three"]]) {
  let told = "";
  let usage = null;
  const stream = await client.chat.completions.create({
    model,
    messages,
    stream: true,
    stream_options: { include_usage: true },
  });
  for await (const chunk of stream) {
    told += chunk.choices[0]?.delta?.content ?? "";
    usage = chunk.usage ?? usage;
  }
  assert.equal(told, text);
  assert.ok(usage.completion_tokens > 0);
}

const listed = [];
for await (const model of client.models.list()) listed.push(model.id);
assert.deepEqual(listed, ["echo", "vendor/model"]);
assert.equal((await client.models.retrieve("vendor/model")).id, "vendor/model");

const schema = { type: "object", properties: { word: { type: "string" } }, required: ["word"] };
answer = await client.chat.completions.create({
  model: "echo",
  messages,
  response_format: { type: "json_schema", json_schema: { name: "thing", schema } },
});
assert.deepEqual(JSON.parse(answer.choices[0].message.content), { word: "Hello there" });
answer = await client.chat.completions.create({
  model: "echo",
  messages,
  tools: [{ type: "function", function: { name: "look", parameters: schema } }],
  tool_choice: { type: "function", function: { name: "look" } },
});
assert.equal(answer.choices[0].message.tool_calls[0].function.name, "look");

await assert.rejects(client.chat.completions.create({ model: "nothing", messages }), {
  status: 404,
  code: "model_not_found",
});
await assert.rejects(new OpenAI({ apiKey: "sgk_wrong", maxRetries: 0 }).models.list(), {
  status: 401,
  code: "invalid_api_key",
});
await assert.rejects(client.chat.completions.create({ model: "echo", messages, temperature: 9 }), {
  status: 400,
  param: "temperature",
});
console.log("all is well");
