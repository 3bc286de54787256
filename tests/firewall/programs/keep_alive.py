"""A stem program that builds a circuit and a service, says so, then waits for its end.

argv[1] is JSON: control, path, service (bool). Prints one JSON line; on "look" from standard
input prints another with all it can see.
"""

import json
import sys

from stem.control import Controller, EventType

SETTINGS = json.loads(sys.argv[1])


def main():
    events = []
    tor = Controller.from_socket_file(SETTINGS["control"])
    tor.authenticate()
    for kind in (EventType.CIRC, EventType.STREAM, EventType.HS_DESC, EventType.CIRC_BW):
        tor.add_event_listener(lambda event: events.append(str(event)), kind)
    circuit = tor.new_circuit(SETTINGS["path"], await_build=True, timeout=120)
    found = {"circuit": circuit}
    if SETTINGS["service"]:
        made = tor.create_ephemeral_hidden_service({80: 80}, await_publication=True, timeout=180)
        found["service"] = made.service_id
    print(json.dumps(found), flush=True)
    for line in sys.stdin:
        words = line.split()
        if words == ["look"]:
            answer = {
                "circuits": [c.id for c in tor.get_circuits()],
                "streams": [s.id for s in tor.get_streams()],
                "services": tor.list_ephemeral_hidden_services([]),
                "events": events,
            }
        else:
            answer = {"reply": str(tor.msg(" ".join(words)))}
        print(json.dumps(answer), flush=True)


main()
