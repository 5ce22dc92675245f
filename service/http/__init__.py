"""The HTTP interface of the job server."""
