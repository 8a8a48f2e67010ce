"""What an imported command says and what its recipe gives, side by side."""

from ascend_serve.compiling.atc import options
from ascend_serve.compiling.parameters import bind
from ascend_serve.compiling.template import fill, names_in
from ascend_serve.spec.recipe import CompileRecipe


def said(imported, given=()):
    """The command's pairs with parameters put in: the last of each option."""
    values = {**imported.parameters, **dict(given)}
    pairs = {}
    for option, value in imported.pairs:
        pairs.pop(option, None)
        pairs[option] = fill(value, values) if names_in(value) or values else value
    return list(pairs.items())


def made(imported, given=()):
    """The pairs of the recipe's command line, `extra_args` behind them."""
    settings = bind(imported.settings, imported.parameters or None, dict(given))
    recipe = CompileRecipe.parse(settings)
    pairs = options(recipe, recipe.targets[0], recipe.source, recipe.output)
    extra = [argument.removeprefix("--").partition("=") for argument in recipe.extra_args]
    return pairs + [(option, value) for option, _, value in extra]


def guesses(imported):
    """Values for the parameters without one, such as their places ask for."""
    open_names = [name for name, value in imported.parameters.items() if value is None]
    return {name: _guess(name, imported, 8 * position) for position, name in enumerate(open_names, start=1)}


def _guess(name, imported, size):
    place = f"${{{name}}}"
    pairs = dict(imported.pairs)
    whole = {
        "framework": "3" if pairs.get("input_format") == "NHWC" else "5",
        "dynamic_batch_size": "1,4",
        "dynamic_image_size": "32,32;64,64",
        "input_shape": "x:-1,3,8,8" if "dynamic_batch_size" in pairs else "x:1,3,8,8",
        "output_type": "FP16",
        "log": "error",
        "input_format": "NCHW",
        "precision_mode": "force_fp16",
    }
    for option, value in imported.pairs:
        if place not in value:
            continue
        if option == "soc_version":
            return "Ascend310P3".removeprefix(value.partition("$")[0])
        if value == place and option in whole:
            return whole[option]
        if option in ("input_shape", "dynamic_dims", "dynamic_batch_size", "dynamic_image_size"):
            return str(size)
    return "value"
