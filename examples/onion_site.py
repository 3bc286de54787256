# /// bento
# image = "python"
# memory = "128 MiB"
# tor = ["onion-services", "events"]
# ///
"""An onion service in a function: `bento run examples/onion_site.py` prints its address and serves."""


def main(api, greeting: str = "Hello from inside a box.\n"):
    body = greeting.encode()
    page = b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    with api.onion_service(80) as service:
        api.send(f"http://{service.address}/\n")
        for connection in service:
            with connection:
                connection.recv(4096)
                connection.sendall(page)
