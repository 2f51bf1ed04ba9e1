"""The pages: each module parses a request, asks services, and draws one template."""
