"""Every limit of the protocol, with unit and reason. Sizes are bytes unless a name says otherwise."""

KIB = 1024
MIB = 1024 * KIB

DOOR_FRAME = 64 * KIB
"""The largest frame before a token was checked: a stranger can make the box hold this much."""

SESSION_FRAME = 1 * MIB + 4 * KIB
"""The largest frame inside a session: the arguments of one call, plus their envelope."""

EVIDENCE = 256 * KIB
"""A conclave's evidence with its collateral: 20 kB in use, a long revocation list adds 100 kB."""

SALT = 32
"""Random bytes before a function uploaded to a conclave, see protocol.conclave."""

ARGUMENTS = 1 * MIB
"""All arguments of one invocation together; larger input belongs in the input stream."""

CHUNK = 64 * KIB
"""Stream bytes in one DATA or CODE frame: 135 Tor cells, large enough that framing costs nothing."""

CHUNK_MAX = 256 * KIB
"""What a receiver accepts in one DATA or CODE frame."""

WINDOW = 4 * MIB
"""Unacknowledged bytes a sender keeps for resuming (the spool's default bound). 300 ms at 10 MB/s is 3 MB."""

WINDOW_MAX = 64 * MIB + CHUNK_MAX
"""What a client holds unread at most, whatever spool the instance was given; it stops a liar only."""

ACK_EVERY = 512 * KIB
"""A receiver acknowledges after this many bytes: 1 small cell for each 1,074 full ones. Each costs
the box a turn of its loop: at half of this they are a third of its work on a long answer."""

SPOOL_MIN = 2 * ACK_EVERY
"""The smallest window: a sender must be able to send what makes its receiver acknowledge."""

UPLOAD = 64 * MIB
"""The largest function a guest takes; a box's policy may offer less."""

MANIFEST = 16 * KIB
"""The inline manifest block, as text."""

POLICY = 32 * KIB
"""A signed policy document."""

DETAIL = 4 * KIB
"""The sentence of an error, and its hint."""

TRACEBACK = 64 * KIB
"""A function's traceback as its owner receives it; longer ones keep their end."""

LOG_LINE = 4 * KIB
"""One line of api.log."""

CAPABILITY = 1 * KIB
"""A token with all its conditions: a dozen narrowings of the largest kind, and it still fits a QR code."""

CAPABILITY_NAME = 16
"""What the maker of a token finds its root by: 128 random bits, so that no two are the same."""

COUNTER = 16
"""The name of one count of uses or bytes: half a hash, nobody gains by making two collide."""

COUNTED = 10_000
"""Counted sessions of one instance, all its tokens together: the box keeps 32 bytes for each."""

HOLDER_PROOF = 64
"""An Ed25519 signature, RFC 8032."""

SESSION_ID = 16
"""A session's name, chosen by the client: 128 random bits, so it is a capability as well."""

SESSION_TAG = 16
"""Names a session to the box without telling its name: half a hash of it."""

OWNER = 16
"""The secret that proves to a guest that the invoker installed it: 128 random bits."""

VERSIONS = (1,)
"""Protocol versions this code speaks, best first."""

VALUE_DEPTH = 16
"""Nesting of call arguments."""

VALUE_ITEMS = 10_000
"""Lists, maps and scalars in the arguments of one call, all together."""

END_SECONDS = 60
"""How long an instance that ends itself waits for its present clients to fetch their last answers: a
spool of 4 MiB at 70 KB/s."""

SESSIONS = 64
"""Sessions an instance keeps at once, ended but unfetched ones included; fewer in less than 128 MiB of
memory (see guest.spools)."""

SEED = 16
"""What a puzzle is about: 128 bits, made from the box's own key, the price and the moment."""

NONCE = 16
"""A puzzle's answer: 8 random bytes, so that two clients never search the same place, and a counter."""

SOLUTION = 48
"""Work, stamp, seed and nonce of a solved puzzle."""

UPLOAD_WAIT = 60
"""Seconds that a new instance waits for its code to begin: five slow Tor round trips are 15."""

UPLOAD_RATE = 16 * KIB
"""Bytes a second that an upload must keep on average: a tenth of a slow circuit."""

TREE = 64
"""Instances that one function may have on other boxes, those of its children among them."""

LEASE = 60
"""Seconds that a child lives on when nobody renews it. Renewed every third of it: two tries may fail."""

LEASE_MOST = 600
"""The longest lease: how long a tree may outlive its root is what it bounds."""

BOX_NAME = 64
"""A relay's nickname (19 characters at most) or fingerprint (40), and air."""

PASS = 1 * KIB
"""A pass as it is shown: 430 bytes, most of them a 2048-bit RSA signature."""
