"""One declaration of every setting; loading, explaining and listing it are its readers."""
