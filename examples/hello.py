# /// bento
# egress = ["*:*"]
# ///
import urllib.request


def main(api, url: str):
    with urllib.request.urlopen(url) as answer:
        page = answer.read()
    api.send(f"{answer.status}: {len(page)} bytes, seen from a box, not from you\n")
