"""An application of Django behind its GZipMiddleware. `asgi`: on uvicorn, with asynchronous views; `wsgi`: on the server of
Django's own runserver, whose streams end with their connection, and which notices that a client left when it writes.
README.md beside this file says what applications serve."""

import asyncio
import json
import sys
import threading
import time

import django
from django.conf import settings
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path

settings.configure(
    ALLOWED_HOSTS=["*"],
    DATA_UPLOAD_MAX_MEMORY_SIZE=None,
    MIDDLEWARE=["django.middleware.gzip.GZipMiddleware"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="of a test",
)
django.setup()


class Steps:
    """Streams that wait for a `POST /step`, in threads or in tasks."""

    def __init__(self):
        self.lock = threading.Lock()
        self.waiting = []

    def queue(self):
        turn = threading.Event()
        with self.lock:
            self.waiting.append(turn)
        return turn

    def wait(self):
        self.queue().wait()

    async def wait_async(self):
        turn = self.queue()
        while not turn.is_set():
            await asyncio.sleep(0.005)

    def go(self):
        with self.lock:
            if not self.waiting:
                return False
            self.waiting.pop(0).set()
            return True


steps = Steps()


def event(k):
    return f"id: {k}\ndata: event {k}: grüße 🦜\n\n"


def delta(word):
    return f"data: {json.dumps({'choices': [{'delta': {'content': word}}]})}\n\n"


def stream(events):
    response = StreamingHttpResponse(events, content_type="text/event-stream")
    response["Access-Control-Allow-Origin"] = "*"
    return response


def go(_request):
    return HttpResponse(status=204 if steps.go() else 409)


def page(_request):
    response = JsonResponse({"page": "x" * 1024})
    response.set_cookie("first", "1", httponly=True)
    response.set_cookie("second", "2")
    return response


def echo(request):
    return HttpResponse(request.body, content_type=request.headers["Content-Type"])


def block(number):
    return "".join(f"{line:07}\n" for line in range(number * 8192, (number + 1) * 8192))


class Wsgi:
    @staticmethod
    def events(request):
        def each():
            for k in range(int(request.GET["n"])):
                if k > 0:
                    time.sleep(int(request.GET["gap"]) / 1000)
                yield event(k)

        return stream(each())

    @staticmethod
    def steps(request):
        def each():
            for k in range(int(request.GET["n"])):
                steps.wait()
                yield event(k)
            steps.wait()

        return stream(each())

    @staticmethod
    def forever(_request):
        def each():
            try:
                yield event(0)
                while True:
                    time.sleep(0.05)
                    yield ": tick\n\n"
            finally:
                print("gone", flush=True)

        return stream(each())

    @staticmethod
    def llm(request):
        def each():
            for word in json.loads(request.body)["prompt"].split(" "):
                steps.wait()
                yield delta(word)
            yield "data: [DONE]\n\n"

        return stream(each())

    @staticmethod
    def big(_request):
        return StreamingHttpResponse(map(block, range(64)), content_type="application/octet-stream")

    @staticmethod
    def serve():
        from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
        from django.core.wsgi import get_wsgi_application

        server = ThreadedWSGIServer(("127.0.0.1", 0), WSGIRequestHandler)
        server.set_app(get_wsgi_application())
        print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
        server.serve_forever()


class Asgi:
    @staticmethod
    async def events(request):
        async def each():
            for k in range(int(request.GET["n"])):
                if k > 0:
                    await asyncio.sleep(int(request.GET["gap"]) / 1000)
                yield event(k)

        return stream(each())

    @staticmethod
    async def steps(request):
        async def each():
            for k in range(int(request.GET["n"])):
                await steps.wait_async()
                yield event(k)
            await steps.wait_async()

        return stream(each())

    @staticmethod
    async def forever(_request):
        async def each():
            try:
                yield event(0)
                await asyncio.Future()
            finally:
                print("gone", flush=True)

        return stream(each())

    @staticmethod
    async def never(_request):
        print("asked", flush=True)
        try:
            await asyncio.Future()
        finally:
            print("gone", flush=True)

    @staticmethod
    async def llm(request):
        prompt = json.loads(request.body)["prompt"]

        async def each():
            for word in prompt.split(" "):
                await steps.wait_async()
                yield delta(word)
            yield "data: [DONE]\n\n"

        return stream(each())

    @staticmethod
    async def big(_request):
        async def blocks():
            for number in range(64):
                yield block(number)

        return StreamingHttpResponse(blocks(), content_type="application/octet-stream")

    @staticmethod
    def serve():
        import asgi
        from django.core.asgi import get_asgi_application

        asgi.serve(get_asgi_application())


kind = {"asgi": Asgi, "wsgi": Wsgi}[sys.argv[1]]
own = ["events", "steps", "forever", "never", "llm", "big"]
urlpatterns = [path(name, getattr(kind, name)) for name in own if hasattr(kind, name)]
urlpatterns += [path("step", go), path("page", page), path("echo", echo)]
kind.serve()
