"""The operator's page (`flin serve --http`): health, metrics, figures, profiles, and a few acts, over HTTP.

A server's figures are one dictionary of plain values, made on its loop (`figures.py`); everything else is computed from
that: whether it is ready (`readiness.py`), metrics (`metrics.py`), the dashboard. So a worker of several answers the
same questions over a socket (`line.py`) as a server does in its own process (`source.py`), and one page shows all.

It stands above the server, which knows nothing of it. aiohttp and prometheus-client are imported only where --http is
given.
"""
