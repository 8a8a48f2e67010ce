"""What is claimed of the whole, one command for each claim: `python -m benchmarks claims [name ...]`.

A claim measures what it needs, prints its figures and, for each, whether floor and target are met, or NOISY
where the machine was never quiet.
"""
