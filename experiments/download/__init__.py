"""How long pages take over Tor with slow links, and what a function's instance weighs in memory."""
