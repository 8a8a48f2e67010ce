"""Tunes a model with AOE, on a card of the target: what is found goes into a knowledge bank that ATC reads.

AOE takes most of ATC's options, tunes for the device that is there (there is no `--soc_version`), and writes a tuned
model, which is thrown away, and the bank, which is kept: ATC builds from it as often as it is asked to.

Rests on facts: ATC §5.2, §1.9; the option table of msit's `convert aoe` (msit components/convert/model_convert/aoe/
aoe_args_map.py); CANN's reference of TUNE_BANK_PATH and of `--op_bank_path` and `--mdl_bank_path`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import orjson

from ascend_serve import env
from ascend_serve.artifacts.store import sha256
from ascend_serve.compiling.atc import options
from ascend_serve.compiling.diagnosis.diagnose import Diagnosis, diagnose
from ascend_serve.compiling.key import artifact_key
from ascend_serve.compiling.process import run
from ascend_serve.compiling.sources import input_order
from ascend_serve.compiling.toolchain import find_program
from ascend_serve.errors import ConfigError
from ascend_serve.spec.aipp import render
from ascend_serve.spec.atc_options import AtcOptions
from ascend_serve.spec.recipe import CompileRecipe
from ascend_serve.spec.soc import SOCS, Soc
from ascend_serve.spec.tuning import Tune

_JOB_TYPE = {"subgraph": "1", "operator": "2"}
_BANK_FIELD = {"subgraph": "mdl_bank_path", "operator": "op_bank_path"}
_BANK_PATH = "TUNE_BANK_PATH"
AOE_LOG = "aoe.log"
_FINISHED = "Aoe process finished"
_TAKEN = {
    *("framework", "model", "weight", "output"),
    *("input_format", "input_shape", "dynamic_batch_size", "dynamic_image_size", "dynamic_dims"),
    *("output_type", "out_nodes", "input_fp16_nodes", "insert_op_conf", "op_name_map"),
    *("is_input_adjust_hw_layout", "is_output_adjust_hw_layout", "enable_scope_fusion_passes"),
    *("aicore_num", "virtual_type", "disable_reuse_memory", "fusion_switch_file", "enable_single_stream"),
    *("enable_small_channel", "compress_weight_conf", "buffer_optimize", "compression_optimize_conf"),
    *("sparsity", "precision_mode", "op_select_implmode", "optypelist_for_implmode", "op_precision_mode"),
    *("modify_mixlist", "keep_dtype", "customize_dtypes", "op_debug_level", "log"),
}
"""ATC's options that AOE has too."""
_PRECISION_MODE = {
    "fp16": "force_fp16",
    "origin": "must_keep_origin_dtype",
    "mixed_float16": "allow_mix_precision",
}
"""What AOE calls, under the older option alone, what ATC's `precision_mode_v2` says."""


def find_aoe(explicit: str | Path | None = None) -> Path:
    """The `aoe` to tune with.

    Looked for as `toolchain.find_atc` does: the explicit setting (the argument, else `ASCEND_SERVE_AOE`), after which
    nothing else is tried; CANN's install root `$ASCEND_HOME_PATH`, where AOE has a folder of its own; `PATH`; the
    scripts folder of the running interpreter.

    Raises:
        ToolMissing: none is there; the message names every place.
    """
    return find_program(
        "aoe",
        explicit or env.explicit_aoe(),
        ("bin", "tools/aoe/bin"),
        "It is part of CANN's toolkit: run `source /usr/local/Ascend/ascend-toolkit/set_env.sh` on a machine with a "
        "card of the target; or name the program in ASCEND_SERVE_AOE; or remove `tune` from the recipe",
    )


def arguments(recipe: CompileRecipe, source: str, output_stem: str) -> list[str]:
    """AOE's arguments, without the program itself.

    These are what ATC would be given, less what AOE does not know (such as `soc_version`, and all of `extra_args`),
    with the precision under the name that AOE has for it, and what `tune` says.

    Args:
        recipe: with a `tune` section.
        source: path of the model, as AOE shall see it.
        output_stem: path of the tuned model without `.om`.

    Raises:
        ConfigError: the recipe asks for a precision that AOE cannot tune for.
    """
    tuning = _section(recipe)
    pairs = [
        _as_aoe_says(recipe, name, value) for name, value in options(recipe, "", source, output_stem) if value
    ]
    pairs = [pair for pair in pairs if pair[0] in _TAKEN]
    pairs.append(("job_type", _JOB_TYPE[tuning.job_type]))
    if tuning.tune_optimization_level is not None:
        pairs.append(("tune_optimization_level", tuning.tune_optimization_level))
    if tuning.tune_ops_file is not None:
        pairs.append(("tune_ops_file", tuning.tune_ops_file))
    return [f"--{name}={value}" for name, value in pairs] + list(tuning.extra_args)


def tuning_key(recipe: CompileRecipe, soc: Soc, fingerprint: str, influences: Mapping[str, str]) -> str:
    """The key under which the store files the knowledge bank of a recipe for `soc`.

    It covers what the key of an artifact covers, less the recipe's name, `verify` and the options that AOE does not
    take, so that changing those does not tune again; and the `tune` section without its time limit.

    Args:
        recipe: with absolute paths and a `tune` section.
        soc: the target.
        fingerprint: of the toolchain (`toolchain.fingerprint`).
        influences: environment variables that change what ATC builds.

    Returns:
        64 hexadecimal digits.

    Raises:
        ConfigError: the source, or a file it or an option refers to, does not exist.
    """
    tuning = _section(recipe)
    # What AOE takes differs from the recipe in the precision's name alone, so that stays.
    unknown = AtcOptions.model_fields.keys() - _TAKEN - {"precision_mode_v2"}
    defaults = {name: AtcOptions.model_fields[name].get_default() for name in unknown}
    bare = recipe.model_copy(update={"name": "tuned", "extra_args": (), "verify": None, **defaults})
    heeded = {name: value for name, value in influences.items() if name != _BANK_PATH}
    said = tuning.model_dump(mode="json", exclude={"timeout_s", "tune_ops_file"})
    ingredients = {
        "model": artifact_key(bare, soc, fingerprint, heeded),
        "tune": said,
        "tune_ops": _digest(recipe, tuning.tune_ops_file) if tuning.tune_ops_file else "",
    }
    return hashlib.sha256(orjson.dumps(ingredients, option=orjson.OPT_SORT_KEYS)).hexdigest()


def tune(
    recipe: CompileRecipe, soc: Soc, source: Path, scratch: Path, *, aoe: Path, timeout_s: float
) -> Path | Diagnosis:
    """Run AOE and return the folder of its knowledge bank, in `scratch`, or why there is none.

    Args:
        recipe: with absolute paths and a `tune` section.
        soc: the target; a card of it has to be here, which AOE checks.
        source: the model as ATC reads it (`sources.prepared_source`).
        scratch: folder of this run; the whole output is its `AOE_LOG`.
        aoe: the program (`find_aoe`).
        timeout_s: time limit in seconds.

    Raises:
        ConfigError: the recipe asks for a precision that AOE cannot tune for.
    """
    bank, work, log = scratch / "bank", scratch / "aoe", scratch / AOE_LOG
    # AOE wants the bank's folder to be there, and leaves its workspace in the folder it runs in.
    bank.mkdir()
    work.mkdir()
    if recipe.aipp:
        file = scratch / "tune_aipp.cfg"
        file.write_text(render(recipe.aipp, input_order(recipe, source)), encoding="utf-8")
        recipe = recipe.model_copy(update={"insert_op_conf": str(file)})
    environment = {_BANK_PATH: str(bank)}
    if not env.compile_workers():
        environment["TE_PARALLEL_COMPILER"] = str(max(1, round(recipe.num_cpus)))
    command = [str(aoe), *arguments(recipe, str(source), str(work / recipe.name))]
    status = run(command, cwd=work, log=log, timeout_s=timeout_s, environment=environment)
    output = log.read_text(encoding="utf-8", errors="replace")
    return _failure(status, output, timeout_s) or _flaw(bank, soc) or bank


def bank_options(recipe: CompileRecipe, bank: Path) -> dict[str, str]:
    """The recipe's fields that make ATC use a knowledge bank: the one for what was tuned, with the bank's folder."""
    return {_BANK_FIELD[_section(recipe).job_type]: str(bank)}


def bank_environment(bank: Path) -> dict[str, str]:
    """The variable with which `atc` is run: it beats `op_bank_path`, so a user's own would hide this bank."""
    return {_BANK_PATH: str(bank)}


def _section(recipe: CompileRecipe) -> Tune:
    if recipe.tune is None:
        raise ConfigError(f"recipe '{recipe.name}' has no `tune` section: give tune: {{job_type: operator}}")
    return recipe.tune


def _as_aoe_says(recipe: CompileRecipe, name: str, value: str) -> tuple[str, str]:
    if name != "precision_mode_v2":
        return name, value
    if value not in _PRECISION_MODE:
        raise ConfigError(
            f"recipe '{recipe.name}': AOE cannot tune for precision_mode_v2 {value}; it knows "
            f"{', '.join(_PRECISION_MODE)}: use one of them, or remove `tune`"
        )
    return "precision_mode", _PRECISION_MODE[value]


def _digest(recipe: CompileRecipe, file: str) -> str:
    try:
        return sha256(Path(file))
    except OSError as error:
        raise ConfigError(
            f"recipe '{recipe.name}': tune_ops_file {file} cannot be read: {error.strerror}"
        ) from error


def _failure(status: int | None, output: str, timeout_s: float) -> Diagnosis | None:
    """Why AOE did not tune, or None when it did."""
    if status is None:
        return Diagnosis(
            f"aoe was stopped after its time limit of {timeout_s:g} s",
            hint="Raise tune.timeout_s in the recipe, or name the operators worth tuning in tune_ops_file",
        )
    if status == 0 and _FINISHED in output:
        return None
    # AOE compiles with the graph engine, whose reports are those of ATC; what has none is told in AOE's own words.
    found = diagnose(output, status, timeout_s)
    if found.code is not None:
        return found
    lines = [line.strip() for line in output.splitlines() if line.strip(" .")]
    said = f": {lines[-1][:500]}" if lines else " and said nothing"
    return Diagnosis(
        f"aoe ended with status {status}{said}",
        hint="Tuning needs a card of the target on the node that does it, and CANN's set_env.sh",
    )


def _flaw(bank: Path, soc: Soc) -> Diagnosis | None:
    """What is wrong with the knowledge bank that a run left, or None."""
    if not any(path.is_file() for path in bank.rglob("*")):
        return Diagnosis(
            "aoe ended well and left no knowledge bank, as it found nothing better than what CANN brings",
            hint="Remove `tune` from the recipe, or try the other job_type",
        )
    # Operators are kept in a folder per SoC, named by the card that was measured.
    tuned = sorted(path.name for path in bank.iterdir() if path.is_dir() and path.name in SOCS)
    if tuned and soc.name not in tuned:
        return Diagnosis(
            f"aoe tuned for {', '.join(tuned)}, the card that is here",
            hint=f"Tune on a node with a card of {soc.name}",
        )
    return None
