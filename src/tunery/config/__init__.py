"""One declaration of every setting; loading, explaining and listing settings all read it."""
