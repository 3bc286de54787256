"""Code for inside a browser sandbox: Chromium on a CDP pipe, as a function would start it."""

CHROMIUM = """
    import json, os
    FLAGS = [
        "--headless", "--disable-gpu", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync", "--disable-extensions", "--mute-audio",
        "--no-default-browser-check", "--disable-dev-shm-usage", "--remote-debugging-pipe",
        "--user-data-dir=/tmp/profile",
    ]
    PROGRAM = "/usr/lib/chromium/chromium"

    class Chromium:
        def __init__(self):
            theirs_in, self.out = os.pipe()
            self.incoming, theirs_out = os.pipe()
            errors = os.open("/tmp/errors", os.O_WRONLY | os.O_CREAT)
            actions = [(os.POSIX_SPAWN_DUP2, a, b)
                       for a, b in ((errors, 2), (theirs_in, 3), (theirs_out, 4))]
            arguments = [PROGRAM, *FLAGS, "about:blank"]
            self.pid = os.posix_spawn(PROGRAM, arguments, dict(os.environ), file_actions=actions)
            for descriptor in (theirs_in, theirs_out, errors):
                os.close(descriptor)
            self.buffer, self.number = b"", 0

        def call(self, method, session=None, **parameters):
            self.number += 1
            message = {"id": self.number, "method": method, "params": parameters}
            if session:
                message["sessionId"] = session
            data = json.dumps(message).encode() + b"\\0"
            while data:
                data = data[os.write(self.out, data):]
            while True:
                answer = self.receive()
                if answer.get("id") == self.number:
                    return answer["result"]

        def receive(self):
            while b"\\0" not in self.buffer:
                part = os.read(self.incoming, 1 << 20)
                if not part:
                    raise EOFError(open("/tmp/errors").read()[-1500:])
                self.buffer += part
            message, _, self.buffer = self.buffer.partition(b"\\0")
            return json.loads(message)

        def open(self, url):
            target = self.call("Target.createTarget", url=url)["targetId"]
            return self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    chromium = Chromium()
"""
