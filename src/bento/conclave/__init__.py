"""Conclaves: the function protected from the box.

A box's operator reads every ordinary function. A conclave runs inside a trusted execution
environment (or, for tests, an emulation that protects nothing): the client verifies evidence of
which runtime runs where, and only then uploads the function, through TLS that ends inside.

This room never trusts what it parses, never fetches anything while verifying (asking a vendor would
tell the vendor who uses which box), never lets an opinion into a verifier nor a default into a
policy, and never calls emulated or untested things hardware. What conclaves cannot do:
`docs/conclaves.md`.

    claims      what evidence says, in words shared by every kind
    evidence    the container it travels in
    appraise    evidence -> claims: `verify_dcap`, `verify_snp`, `verify_tpm`; offline
    trust       the client's policy: claims -> verdict, default deny
    attesters   where evidence comes from
    channel     TLS 1.3 ended in the guest, bound to evidence; padded frames (`stream`, `guest_socket`)
    storage     sealed files under a key that never leaves the guest
    importing   evidence files of others
"""
