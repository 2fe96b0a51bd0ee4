"""The `openai` and `anthropic` SDKs on recorded routes: resume_sdk.py BASE. What resume_sdk.mjs does, one after the other."""

import json
import sys

import httpx
from anthropic import Anthropic
from httpx_sse import connect_sse
from openai import OpenAI

from say import say

base = sys.argv[1]
openai = OpenAI(base_url=f"{base}/v1", api_key="of a test", max_retries=0)
anthropic = Anthropic(base_url=base, api_key="of a test", max_retries=0)
messages = [{"role": "user", "content": "hello"}]
# What both SDKs send.
headers = {"Authorization": "Bearer of a test"}


def chat(model, more):
    raw = openai.chat.completions.with_raw_response
    return raw.create(model=model, messages=messages, stream=True, extra_headers=more)


def claude(model, more):
    raw = anthropic.messages.with_raw_response
    return raw.create(model=model, max_tokens=16, messages=messages, stream=True, extra_headers=more)


apis = {"chat": chat, "messages": claude}


def watch(url, first=lambda: None):
    with httpx.Client(timeout=None) as client, connect_sse(client, "GET", url, headers=headers) as source:
        for event in source.iter_sse():
            # What the SDKs keep to themselves.
            if event.event != "ping" and event.data != "[DONE]":
                say("event", data=json.loads(event.data))
            first()
        say("end", status=source.response.status_code)


for name, ask in apis.items():

    def begin(model, more={}):
        raw = ask(model, more)
        return raw.parse(), base + raw.headers["fantail-stream"]

    say("begin", what=f"{name} lost")
    stream, url = begin("steps")
    for event in stream:
        say("event", data=event.to_dict(mode="json"))
        break
    stream.close()
    watch(f"{url}?offset=1")

    say("begin", what=f"{name} stopped")
    stream, url = begin("endless")
    watch(url, lambda: httpx.delete(url, headers=headers))
    for event in stream:
        say("event", data=event.to_dict(mode="json"))
    say("end", status=httpx.get(f"{url}?offset=1", headers=headers).status_code)
    say("end", status=httpx.get(url).status_code)

    say("begin", what=f"{name} twice")
    key = {"Idempotency-Key": f"{name} of a test"}
    twice = [begin("steps", key), begin("steps", key)]
    for stream, url in twice:
        for event in stream:
            say("event", data=event.to_dict(mode="json"))
        say("end", same=url == twice[0][1])
say("done")
