"""The client's half of the emulated device: what a process knows and does before and after the card.

`acl` is a thin face over these modules. Everything here raises `Failure` where pyACL returns a code.
"""
