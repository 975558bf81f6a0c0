# What the official OpenAI client for Python does with a published Core that asks a person before it answers.
import json
import os
import urllib.request

from openai import OpenAI

MODEL = "scaicore/default/asking"
client = OpenAI(max_retries=0)


def decide(url, decision):
    """Decides a checkpoint, as the person does who is asked."""
    request = urllib.request.Request(
        os.environ["SCAIGRID_URL"] + url + "/resolve",
        data=json.dumps({"decision": decision}).encode(),
        headers={"Authorization": "Bearer " + os.environ["SCAIGRID_KEY"], "Content-Type": "application/json"},
    )
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
        assert answer.status == 200, answer.status


assert MODEL in [model.id for model in client.models.list()]

messages = [{"role": "user", "content": "a refund"}]
answer = client.chat.completions.create(model=MODEL, messages=messages)
assert answer.choices[0].finish_reason == "checkpoint", answer
state = answer.scaicore
assert state["status"] == "waiting", state
checkpoint = state["checkpoints"][0]
assert checkpoint["prompt"] == "May a refund be?", checkpoint
assert checkpoint["id"] in answer.choices[0].message.content, answer

# The message goes back as the client has it.
messages += [answer.choices[0].message, {"role": "user", "content": "And now?"}]
again = client.chat.completions.create(model=MODEL, messages=messages)
assert again.choices[0].finish_reason == "checkpoint", again
assert again.scaicore["execution_id"] == state["execution_id"], again.scaicore

decide(checkpoint["url"], "yes")
messages += [again.choices[0].message, {"role": "user", "content": "And now?"}]
told, reason, last = "", None, None
for chunk in client.chat.completions.create(model=MODEL, messages=messages, stream=True):
    told += chunk.choices[0].delta.content or ""
    reason = chunk.choices[0].finish_reason or reason
    last = getattr(chunk, "scaicore", None) or last
assert told == "a refund: yes", told
assert reason == "stop", reason
assert last["execution_id"] == state["execution_id"], last
assert last["conversation_id"] == state["conversation_id"], last

# By a name of one's own, without what was said before.
named = {"conversation_id": "ticket 7"}
answer = client.chat.completions.create(
    model=MODEL, messages=[{"role": "user", "content": "a gift"}], metadata=named, user="ada"
)
assert answer.choices[0].finish_reason == "checkpoint", answer
decide(answer.scaicore["checkpoints"][0]["url"], "no")
answer = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "?"}], metadata=named)
assert answer.choices[0].message.content == "a gift: no", answer
assert answer.choices[0].finish_reason == "stop", answer
assert answer.usage.total_tokens == 0, answer
print("all is well")
