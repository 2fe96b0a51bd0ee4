"""A Django application with django-eventstream as its documentation sets it up: `grip_app.py CONTROL_URL KEY`.

It prints its port and serves until it is killed. `POST /send/CHANNEL/` sends the body as an event to all but the users of
`?skip=`, and `POST /lock/CHANNEL/` takes the channel away from those who listen to it. One thread serves it: streams do not
stay here.
"""

import sys
from wsgiref.simple_server import WSGIRequestHandler, make_server

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse

CONTROL_URL, KEY = sys.argv[1:3]

settings.configure(
    ALLOWED_HOSTS=["*"],
    # One thread, one connection: it lasts as long as the process.
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    DEBUG=False,
    EVENTSTREAM_CHANNELMANAGER_CLASS="__main__.Channels",
    EVENTSTREAM_STORAGE_CLASS="django_eventstream.storage.DjangoModelStorage",
    GRIP_URL=f"{CONTROL_URL}?iss=django&key={KEY}",
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django_eventstream"],
    MIDDLEWARE=["django_grip.GripMiddleware"],
    ROOT_URLCONF="__main__",
    SECRET_KEY="not one that anybody relies on",
)
django.setup()

import django_eventstream  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.urls import include, path  # noqa: E402
from django.views.decorators.csrf import csrf_exempt  # noqa: E402
from django_eventstream.channelmanager import DefaultChannelManager  # noqa: E402

LOCKED = set()


class Channels(DefaultChannelManager):
    def can_read_channel(self, user, channel):
        return channel not in LOCKED

    def is_channel_reliable(self, channel):
        return not channel.startswith("loose")


@csrf_exempt
def send(request, channel):
    skip = [user for user in request.GET.get("skip", "").split(",") if user]
    django_eventstream.send_event(
        channel, "message", request.body.decode(), skip_user_ids=skip, async_publish=False, json_encode=False
    )
    return HttpResponse("sent\n")


@csrf_exempt
def lock(request, channel):
    from django_grip import get_pubcontrol

    LOCKED.add(channel)
    django_eventstream.channel_permission_changed(None, channel)
    get_pubcontrol().wait_all_sent()
    return HttpResponse("locked\n")


urlpatterns = [
    path("events/", include(django_eventstream.urls)),
    path("send/<channel>/", send),
    path("lock/<channel>/", lock),
]


class Quiet(WSGIRequestHandler):
    def log_message(self, *args):
        pass


if __name__ == "__main__":
    call_command("migrate", verbosity=0)
    server = make_server("127.0.0.1", 0, get_wsgi_application(), handler_class=Quiet)
    print(server.server_port, flush=True)
    server.serve_forever()
