"""How many replicas a load needs: what one bears, how many rows will come, and when it is safe to have fewer.

Pure: time is an argument, in seconds of a wall clock that all replicas share. Ray Serve's side of it is
`ascend_serve.serving.autoscaling`; a replica's is `bearing`, computed once it is warm, and `told`, what it reports.
"""
