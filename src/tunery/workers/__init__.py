"""Starting, watching and stopping workers: detached processes that outlive their starter."""
