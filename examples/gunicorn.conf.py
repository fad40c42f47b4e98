"""
gunicorn, several workers, one /metrics with the sums of all.

    mkdir -p /run/shop-metrics && rm -f /run/shop-metrics/*.db
    PROMETHEUS_MULTIPROC_DIR=/run/shop-metrics gunicorn -c examples/gunicorn.conf.py shop:app

The first worker takes the port and serves the sums of all; the others wait for it, and when it ends one of them, or a worker of
the next generation, takes it. An application that mounts `byteplus_trace.prometheus.metrics_app()` needs no port. There
are no exemplars in this mode.
"""

import os

workers = 4


def post_worker_init(worker):
    """
    After the fork, for threads and sockets of the master would not survive it, and after the worker's signal handlers.

    In `post_fork` a SIGTERM would meet the master's handlers meanwhile, and gunicorn would wait out its graceful timeout.
    """
    import byteplus_trace

    byteplus_trace.instrument(metrics_port=9464)


def child_exit(server, worker):
    """The gauges of a dead worker end with it."""
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        from prometheus_client import multiprocess

        multiprocess.mark_process_dead(worker.pid)
