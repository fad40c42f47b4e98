"""
gunicorn, several workers, one /metrics with the sums of all.

    PROMETHEUS_MULTIPROC_DIR=/run/shop-metrics gunicorn -c examples/gunicorn.conf.py shop:app

The first worker takes the port and serves the sums of all; the others wait for it, and when it ends one of them, or a worker of
the next generation, takes it. An application that mounts `byteplus_trace.prometheus.metrics_app()` needs no port. There
are no exemplars in this mode.

The two hooks make and clear the directory before any worker starts, and add what a dead worker counted to one file.
"""

from byteplus_trace.prometheus import child_exit, on_starting  # noqa: F401  gunicorn finds its hooks by their names

workers = 4


def post_worker_init(worker):
    """
    After the fork, for threads and sockets of the master would not survive it, and after the worker's signal handlers.

    In `post_fork` a SIGTERM would meet the master's handlers meanwhile, and gunicorn would wait out its graceful timeout.
    """
    import byteplus_trace

    byteplus_trace.instrument(metrics_port=9464)
