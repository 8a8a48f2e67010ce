"""Pure decisions about batches: which tickets run together, at which gear, and where their rows lie.

Nothing here reads a clock, starts a thread, awaits or opens a file; time comes in as an argument. So every
decision can be tested step by step and replayed. Read in this order:

    planner     takes events and keeps the books         ticket, packing
    composing   makes the next batch out of what waits   waiting (lines, ordered, alarms, backlog),
                                                         grouping (which bucket), meeting (deadlines)
    policy      at which gear                            choice (what it sees), optimal (smdp: the solver), rates
    costs       what a gear takes on the device          refining (from live batches), prices (looked up), forecast
    sharing     one device among several models
    routing     among several replicas, which one finishes a request first
    journal     what a planner did, to be replayed       fields (checks of files handed to us)
"""
