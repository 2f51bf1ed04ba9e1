"""Starting, watching and ending workers: detached processes that outlive whoever began them."""
