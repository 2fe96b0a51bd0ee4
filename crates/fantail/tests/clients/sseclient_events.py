"""`sseclient-py` on httpx: sseclient_events.py URL [BODY]. With a body it POSTs."""

import sys

import httpx
import sseclient

from say import say

url, *body = sys.argv[1:]
headers = {"Accept": "text/event-stream", "Content-Type": "application/json"}
content = body[0] if body else None
try:
    with httpx.stream("POST" if body else "GET", url, headers=headers, content=content, timeout=None) as response:
        say("open")
        for event in sseclient.SSEClient(response.iter_bytes()).events():
            say("event", type=event.event, data=event.data, id=event.id or "")
    say("end")
except httpx.HTTPError as error:
    say("error", reason=repr(error))
say("done")
