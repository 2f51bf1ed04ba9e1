"""The pages: each module parses a request, calls services, and renders one template."""
