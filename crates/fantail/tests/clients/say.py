"""What clients tell tests/it/clients.rs; say.mjs beside this file says how."""

import json


def say(report, **fields):
    print(json.dumps({"report": report, **fields}), flush=True)
