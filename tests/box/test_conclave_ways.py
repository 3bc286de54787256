"""What leads out of a function leads out of it in a conclave too: tor through stem, onion services, egress,
relays' ORPorts. The operator sees these ways as those of any function; the conclave hides none of them.
"""

import json

from tests.box.test_conclave import trust_in
from tests.box.test_functions_tor import function
from tests.box.test_relays_permission import RELAYS, relay
from tests.local_box import local_box

from bento.box.config import Egress
from bento.egress import OrPorts

WAYS = function(
    """
    import json, socket
    def main(api, web: int, orport: int):
        def greeting(host, port):
            with socket.create_connection((host, port), 20) as other:
                return other.recv(99).decode()
        tor = api.stem()
        said = {"tor": str(tor.get_version()), "web": greeting("127.80.0.9", web)}
        said["relay"] = greeting("127.91.0.1", orport)
        said["onion"] = tor.create_ephemeral_hidden_service(80).service_id
        with api.onion_service(81, wait=False) as service:
            said["own"] = service.address
        try:
            tor.get_info("address")
        except Exception as error:
            said["refused"] = str(error)
        (api.data / "kept").write_text(said["onion"])
        said["sealed"] = (api.data / "kept").read_text()
        return json.dumps(said)
    """,
    'egress = ["127.80.0.0/16:*"]',
    "relays = true",
    'tor = ["onion-services=2", "events"]',
)


async def test_every_way_out_works_from_inside_a_conclave():
    egress = Egress(via="direct", relays=True, test_web="127.80.0.0/16", test_relays=RELAYS)
    tor = {"functions_torrc": ("DisableNetwork 1",), "allow": ("events", "onion-services=2")}
    async with (
        local_box(attester="emulated", egress=egress, tor=tor) as local,
        relay("127.80.0.9") as web,
        relay("127.91.0.1") as orport,
    ):
        local.guard.listed(OrPorts.parse(f"a 127.91.0.1:{orport}\n"))
        trust, told = trust_in(local)
        instance, session = await local.box.run(WAYS, str(web), str(orport), trust=trust)
        await session.close_input()
        said = json.loads(await session.read())
        assert said["tor"].startswith("0.4.")
        assert said["web"] == said["relay"] == "relay"
        assert len(said["onion"]) == 56
        assert said["own"].endswith(".onion")
        assert said["sealed"] == said["onion"]
        assert "refused" in said
        assert told, "and all of it only once the evidence was accepted"
        await instance.shutdown()
