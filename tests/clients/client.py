# What the official OpenAI client for Python does with the server that OPENAI_BASE_URL names.
import json

import openai
from openai import OpenAI

client = OpenAI(max_retries=0)
question = [{"role": "user", "content": "Hello there"}]

answer = client.chat.completions.create(model="echo", messages=question)
assert answer.choices[0].message.content == "Hello there", answer
assert answer.choices[0].finish_reason == "stop", answer
assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens, answer

answer = client.chat.completions.create(model="vendor/model", messages=question, max_tokens=20, temperature=0.1)
assert answer.choices[0].message.content == "one two three", answer
assert answer.model == "vendor/model", answer

for model, text in (("echo", "Hello there"), ("vendor/model", "one two three")):
    told, usage = "", None
    stream = client.chat.completions.create(
        model=model, messages=question, stream=True, stream_options={"include_usage": True}
    )
    for chunk in stream:
        if chunk.choices:
            told += chunk.choices[0].delta.content or ""
        usage = chunk.usage or usage
    assert told == text, told
    assert usage.completion_tokens > 0, usage

assert [model.id for model in client.models.list()] == ["echo", "vendor/model"]
assert client.models.retrieve("vendor/model").owned_by == "platform"

schema = {"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]}
answer = client.chat.completions.create(
    model="echo",
    messages=question,
    response_format={"type": "json_schema", "json_schema": {"name": "thing", "schema": schema}},
)
assert json.loads(answer.choices[0].message.content) == {"word": "Hello there"}, answer

tool = {"type": "function", "function": {"name": "look", "parameters": schema}}
answer = client.chat.completions.create(model="echo", messages=question, tools=[tool], tool_choice="required")
call = answer.choices[0].message.tool_calls[0]
assert call.function.name == "look" and json.loads(call.function.arguments) == {"word": "Hello there"}, answer
assert answer.choices[0].finish_reason == "tool_calls", answer


def refused(kind, code, call):
    try:
        call()
    except kind as error:
        assert error.code == code, (error.code, code)
        return error
    raise AssertionError(f"{kind} was expected")


refused(
    openai.NotFoundError,
    "model_not_found",
    lambda: client.chat.completions.create(model="nothing", messages=question),
)
refused(openai.AuthenticationError, "invalid_api_key", lambda: OpenAI(api_key="sgk_wrong", max_retries=0).models.list())
error = refused(
    openai.BadRequestError,
    None,
    lambda: client.chat.completions.create(model="echo", messages=question, temperature=9),
)
assert error.param == "temperature", error
print("all is well")
