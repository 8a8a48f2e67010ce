"""Pure decisions about batches: which tickets run together, at which gear, and where their rows lie.

Nothing here reads a clock, starts a thread, awaits or opens a file; time comes in as an argument. So every
decision can be tested step by step and replayed. `planner` decides when a batch is sealed and who is in it,
`policy` at which gear; `costs` knows what a gear takes on the device; `packing` moves the rows.
"""
