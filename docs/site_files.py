"""MkDocs hook: lay the site out as the repository is, so that links out of docs/ work in both.

Every page of docs/ moves to docs/ of the site, and the Markdown files outside of docs/ join at their own paths.
"""

from __future__ import annotations

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

OUTSIDE = ("*.md", "sdk/medsam_edge/models/default/MODEL_CARD.md")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    root = Path(config.docs_dir).parent
    inside = [file for file in files if file.src_dir == config.docs_dir]
    for file in inside:
        files.remove(file)
    paths = [Path(config.docs_dir, file.src_uri) for file in inside]
    paths += [path for pattern in OUTSIDE for path in sorted(root.glob(pattern))]
    for path in paths:
        files.append(File.generated(config, path.relative_to(root).as_posix(), abs_src_path=str(path)))
    return files
