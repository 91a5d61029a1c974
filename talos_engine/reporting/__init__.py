"""Reports: what a folder holds, gathered as tables, figures and facts, without any layout.

Files are read with suspicion here; how a report looks is the affair of who renders it.
"""

from __future__ import annotations
