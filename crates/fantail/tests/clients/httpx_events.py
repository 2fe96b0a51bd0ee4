"""`httpx-sse`: httpx_events.py URL [BODY]. With a body it POSTs."""

import sys

import httpx
from httpx_sse import connect_sse

from say import say

url, *body = sys.argv[1:]
headers = {"Content-Type": "application/json"}
post = {"method": "POST", "content": body[0], "headers": headers} if body else {"method": "GET"}
try:
    with httpx.Client(timeout=None) as client, connect_sse(client, url=url, **post) as source:
        say("open")
        for event in source.iter_sse():
            say("event", type=event.event, data=event.data, id=event.id)
    say("end")
except httpx.HTTPError as error:
    say("error", reason=repr(error))
say("done")
