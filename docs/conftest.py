"""What of this folder is no page with examples: the settings, and what the build itself runs."""

collect_ignore = ["conf.py", "site_checks.py", "site_made.py", "tutorials", "gallery", "_build"]
