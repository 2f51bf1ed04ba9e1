"""The page: templates, static files and one router a page, over the REST server."""
