"""`sseclient-py` on httpx: sseclient_events.py URL [BODY]. With a body it POSTs."""

import sys

import httpx
import sseclient

from say import say

url, *body = sys.argv[1:]
post = {"content": body[0], "headers": {"Content-Type": "application/json"}} if body else {}
try:
    with httpx.stream("POST" if body else "GET", url, timeout=None, **post) as response:
        say("open")
        for event in sseclient.SSEClient(response.iter_bytes()).events():
            say("event", type=event.event, data=event.data, id=event.id)
    say("end")
except httpx.HTTPError as error:
    say("error", reason=repr(error))
say("done")
