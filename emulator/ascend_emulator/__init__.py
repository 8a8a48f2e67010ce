"""The machine below the emulated pyACL: cards, clients, compiled models and `atc`.

Programs use the module `acl` and the command `atc`; nothing here is an interface for them. README.md says
what is emulated, FIDELITY.md on which source each rule rests.
"""
