"""The `openai` SDK: openai_sdk.py BASE MODEL…. Each model of apps/llm.mjs is asked for a chat completion and for a response."""

import sys

from openai import OpenAI

from say import say

base, *models = sys.argv[1:]
client = OpenAI(base_url=f"{base}/v1", api_key="of a test", max_retries=0)


def chat(model):
    return client.chat.completions.create(model=model, messages=[{"role": "user", "content": "hello"}], stream=True)


def responses(model):
    return client.responses.create(model=model, input="hello", stream=True)


for model in models:
    for ask in [chat, responses]:
        say("begin", what=f"{ask.__name__} {model}")
        try:
            with ask(model) as stream:
                say("open")
                for event in stream:
                    say("event", data=event.to_dict(mode="json"))
                    if model == "endless":
                        break
            say("end")
        except Exception as error:
            response = getattr(error, "response", None)
            retry_after = response.headers.get("retry-after") if response is not None else None
            say("error", reason=repr(error), status=getattr(error, "status_code", None), retry_after=retry_after)
say("done")
