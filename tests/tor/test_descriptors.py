"""Full relay descriptors."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tests.tor.transcripts import answers

from bento.tor.descriptors import MAX_DESCRIPTOR, Descriptor, parse_descriptors

FINGERPRINT = "A1" * 20
SPACED = " ".join(["A1A1"] * 10)


def test_a_descriptor_has_its_contact_and_its_family():
    text = (
        f"router a 1.2.3.4 1 0 0\nfingerprint {SPACED}\ncontact me  here\nfamily ${'b2' * 20} nick"
    )
    assert list(parse_descriptors(text)) == [
        Descriptor(FINGERPRINT, "me  here", frozenset({"B2" * 20}))
    ]


def test_the_descriptors_of_a_real_network_are_read():
    contacts = [d.contact for text in answers("desc/") for d in parse_descriptors(text)]
    assert len(contacts) == 3
    assert '"quoted" \\ émail bento=none' in contacts
    assert any(contact.startswith("ops at example.test bento=1 port=5000") for contact in contacts)


def test_a_word_inside_an_object_is_no_line():
    inside = "-----BEGIN X-----\ncontact evil\n-----END X-----"
    (descriptor,) = parse_descriptors(f"router a\n{inside}\nfingerprint {SPACED}\ncontact good")
    assert descriptor.contact == "good"


def test_the_first_contact_stands():
    (descriptor,) = parse_descriptors(f"router a\nfingerprint {SPACED}\ncontact one\ncontact two")
    assert descriptor.contact == "one"


def test_a_descriptor_that_is_none_harms_no_other():
    good = f"router g\nfingerprint {SPACED}"
    bad = ["router b\nfingerprint 12", "router b", f"router b\nfingerprint {SPACED.lower()}"]
    huge = f"router h\nfingerprint {SPACED}\ncontact " + "x" * MAX_DESCRIPTOR
    text = "\n".join([*bad, good, huge])
    assert [d.fingerprint for d in parse_descriptors(text)] == [FINGERPRINT]


@given(
    st.text()
    | st.lists(st.sampled_from(["router a", "family", "family  $", "contact"])).map("\n".join)
)
def test_any_text_has_descriptors_or_none(text):
    list(parse_descriptors(text))
    list(parse_descriptors(f"router a\nfingerprint {SPACED}\nfamily {text}\ncontact {text}"))
