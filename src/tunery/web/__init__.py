"""The web pages: templates, static files and one router per page, on top of the REST server."""
