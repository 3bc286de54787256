"""Browser: a page is fetched by a real browser on a box, and opened at home without the network.

Why: whoever sees a reader's line can tell pages apart by the pattern of their many responses. Here
there is one answer, of a public size, begun at a public time; the page's own pattern exists only
between the box and the web, where nobody knows the reader.

Must never: fetch anything at home (one live request undoes it all), send a size or a start that is
not in the public sets (but under Cover, where nobody sees them), log an address, or run a page's
content outside two sandboxes.

    guest.py      the manifest, and from an address to an answer          (on the box)
    record.py     a page's responses, one by one, as a pure machine       (on the box)
    failures.py   why there is no page                                    (on the box)
    stillness.py  whether a loaded page can ask for more                  (both, pure)
    limits.py     how much of a page is taken                             (both)
    chromium.py, cdp.py, tab.py   a Chromium, its pipe, one page in it    (both)
    parts.py      a page sent as it comes, under Cover                    (both)
    pack.py, packing.py, sizes.py what travels, and its public sizes      (both, pure)
    http.py       which headers hold, which answers are pages             (both, pure)
    client.py     upload, arguments, read the answer, save it             (at home)
    window.py     a page shown while it is still coming                   (at home)
    replay.py, answers.py, jail.py   open a pack with the network off     (at home)
    warc.py       a pack as a standard web archive                        (at home, pure)

This file goes into the function's upload too, so it imports nothing.
"""
