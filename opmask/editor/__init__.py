r"""The editor: a local page on which masks are seen, changed and kept. It needs Gradio.

Data flow: `browser -> server -> page -> session -> opmask.Edit`. The server guards, the page
shows, and the session works; :func:`opmask.editor.server.serve` starts all three.
"""
