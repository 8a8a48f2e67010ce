"""Reading `.om` files: `reading.read_om` makes an `Om` of bytes; `file`, `report`, `text` and `fitness` serve people.

Pure but for `file`. No CANN and no card are needed (facts: ATC §3).
"""
