"""Loads in simulated time: the planner and the policies of `batching`, on a cost table and a trace.

Nothing here reads a clock or opens a file either. `simulation` runs arrivals through planners and devices, `replaying`
takes a recorded planner's decisions again, `advisor` asks how many devices and which gears; `traces` makes and
reads arrivals.
"""
