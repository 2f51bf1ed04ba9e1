"""Use cases: the only thing the edges (command line, web, API) call. Decisions live here."""
