"""What of this folder is no page with examples: the settings, and what the build itself runs."""

collect_ignore = ["conf.py", "link_check.py", "tutorials", "gallery", "_build"]
