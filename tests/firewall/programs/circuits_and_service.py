"""An ordinary stem program, as its author would write it for a plain tor. It knows no firewall.

argv[1] is JSON: control (socket path), socks [host, port, user, password], path (fingerprints),
web [host, port]. Prints one JSON object of what it found.
"""

import json
import socket
import sys
import threading

import stem
from stem.control import Controller, EventType

SETTINGS = json.loads(sys.argv[1])


def socks_open(host, port):
    proxy_host, proxy_port, user, password = SETTINGS["socks"]
    sock = socket.create_connection((proxy_host, proxy_port), 180)
    sock.sendall(b"\x05\x01\x02")
    assert sock.recv(2) == b"\x05\x02"
    login = bytes([1, len(user)]) + user.encode() + bytes([len(password)]) + password.encode()
    sock.sendall(login)
    assert sock.recv(2) == b"\x01\x00"
    name = host.encode()
    request = b"\x05\x01\x00\x03" + bytes([len(name)]) + name + port.to_bytes(2, "big")
    sock.sendall(request)
    reply = sock.recv(10)
    if reply[1] != 0:
        raise ConnectionError(reply[1])
    return sock


def ask(sock, line):
    sock.sendall(line.encode() + b"\n")
    return sock.makefile().readline().strip()


def main():
    found = {}
    events = []
    with Controller.from_socket_file(SETTINGS["control"]) as tor:
        tor.authenticate()
        found["version"] = str(tor.get_version())
        found["relays"] = sorted(status.nickname for status in tor.get_network_statuses())
        found["listeners"] = tor.get_listeners(stem.control.Listener.SOCKS)

        circuit = tor.new_circuit(SETTINGS["path"], await_build=True, timeout=120)
        found["path"] = [fingerprint for fingerprint, _ in tor.get_circuit(circuit).path]

        attached = threading.Event()

        def on_stream(stream):
            events.append(("STREAM", stream.status, stream.target_port))
            if stream.status == "NEW" and stream.target_port == SETTINGS["web"][1]:
                tor.attach_stream(stream.id, circuit)
                attached.set()
            elif stream.status in ("NEW", "DETACHED"):
                tor.attach_stream(stream.id, "0")

        tor.add_event_listener(on_stream, EventType.STREAM)
        tor.add_event_listener(lambda e: events.append(("CIRC", e.status, e.id)), EventType.CIRC)
        tor.add_event_listener(lambda e: events.append(("HS_DESC", e.action)), EventType.HS_DESC)
        tor.set_conf("__LeaveStreamsUnattached", "1")

        web = socks_open(*SETTINGS["web"])
        found["web"] = ask(web, "hello")
        found["attached"] = attached.is_set()
        found["streams"] = [(s.status, s.circ_id == circuit) for s in tor.get_streams()]

        service = tor.create_ephemeral_hidden_service(
            {80: 8080}, await_publication=True, timeout=180
        )
        found["service"] = service.service_id
        found["key"] = service.private_key
        found["services"] = tor.list_ephemeral_hidden_services()
        found["onion"] = ask(socks_open(service.service_id + ".onion", 80), "knock")

        found["removed"] = tor.remove_ephemeral_hidden_service(service.service_id)
        web.close()
        tor.close_circuit(circuit)
        tor.reset_conf("__LeaveStreamsUnattached")
        refused = []
        for attempt in (
            lambda: tor.set_conf("SocksPort", "127.0.0.1:1"),
            lambda: tor.signal(stem.Signal.NEWNYM),
            lambda: tor.get_info("config-text"),
            tor.save_conf,
        ):
            try:
                attempt()
            except stem.ControllerError as error:
                refused.append(str(error))
        found["refused"] = refused
    found["events"] = events
    print(json.dumps(found))


main()
