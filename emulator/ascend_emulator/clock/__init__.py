"""How long copies and executions take in `ASCEND_EMULATOR_TIMING=modelled`.

`roofline` is the model of a SoC, with every constant named and marked as sourced or assumed. `table` reads what was
measured on a real card, which replaces it model by model. `timing` answers the card's questions from both, and
`schedule` keeps an engine to the answers without letting the jitter of waking up add up.
"""
