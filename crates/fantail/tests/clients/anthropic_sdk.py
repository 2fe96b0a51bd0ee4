"""The `anthropic` SDK: anthropic_sdk.py BASE MODEL…. Each model of apps/llm.mjs is asked for a message."""

import sys

from anthropic import Anthropic

from say import say

base, *models = sys.argv[1:]
client = Anthropic(base_url=base, api_key="of a test", max_retries=0)

for model in models:
    say("begin", what=f"messages {model}")
    try:
        messages = [{"role": "user", "content": "hello"}]
        with client.messages.create(model=model, max_tokens=16, messages=messages, stream=True) as stream:
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
