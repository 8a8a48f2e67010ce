"""Codes about operators' kernels, their compiler and its Python (E2, E4, E9, EB, EZ, W). Facts: ATC §2.3, §2.4."""

from __future__ import annotations

from ascend_serve.compiling.diagnosis.advice import (
    EXPORT_HINT,
    GE_PAGES,
    INNER_HINT,
    KERNEL_HINT,
    PYTHON_HINT,
    UNSUPPORTED_HINT,
    Advice,
    listed,
    runtime,
)

_FUSION, _COMPILER = "FE-Errors", "TEfusion-Errors"

_CHECK_HINT = (
    "The operator's kernel refuses its types or shapes: compare them with the operator's description in CANN, or keep "
    "this operator in another type with `keep_dtype`, or set `precision`"
)
_FILE_HINT = "Correct the path in the recipe; relative ones start at the recipe's folder"
_ENVIRONMENT_HINT = "Source CANN's set_env.sh where builds run, or correct that environment variable"
_CACHE_HINT = "The build goes on without it: correct the variable or folder to be rid of the warning"
_SLOW_HINT = "The model works, this operator may be slow; a newer operator package may have a faster kernel"
_OLD_TABLE = "WHULuoJiaTeam/metadef error_manager/error_code.json"

KERNELS: dict[str, Advice] = dict(
    [
        runtime("E20001", _FUSION, "Compilation_Error", KERNEL_HINT),
        runtime("E20002", _FUSION, "Config_Error_Invalid_Environment_Variable", _ENVIRONMENT_HINT),
        runtime(
            "E20003",
            _FUSION,
            "Config_Error",
            "Correct that item of the configuration file as the reason says",
        ),
        runtime(
            "E20007",
            _FUSION,
            "Compilation_Error_Execute_Fusion_Pass",
            "Switch the fusion pass off in the file of `fusion_switch_file`",
            "fusion_switch_file",
        ),
        runtime("E20101", _FUSION, "Invalid_Argument", "Correct {field} in the recipe as the reason says"),
        runtime(
            "E20103",
            _FUSION,
            "Invalid_Argument",
            "The SoC in `targets` has fewer cores: lower `aicore_num`, or leave it out",
            "aicore_num",
        ),
        runtime("E21001", _FUSION, "File_Operation_Error_Open", _FILE_HINT),
        runtime(
            "E21002",
            _FUSION,
            "File_Operation_Error_Parse",
            "Correct the content of that file as the reason says",
        ),
        runtime("E22001", _FUSION, "Compilation_Error", KERNEL_HINT),
        (
            "E40000",
            Advice(PYTHON_HINT, f"{_OLD_TABLE}, E40000"),
        ),
        runtime("E40001", _COMPILER, "Config_Error_Invalid_Environment_Variable", PYTHON_HINT),
        runtime("E40002", _COMPILER, "Environment_Error_Incorrect_Python_Version", PYTHON_HINT),
        runtime("E40003", _COMPILER, "File_Operation_Error_Open", _ENVIRONMENT_HINT),
        runtime("E40020", _COMPILER, "Environment_Error_Import_Python_Module_Failed", PYTHON_HINT),
        runtime("E40021", _COMPILER, "Compilation_Error", KERNEL_HINT),
        runtime("E40022", _COMPILER, "Invalid_Argument", "Correct {field} in the recipe as the message says"),
        runtime("E40023", _COMPILER, "File_Operation_Error_Invalid_Path", _FILE_HINT),
        runtime("E40024", _COMPILER, "Environment_Error_Call_Python_Function_Failed", PYTHON_HINT),
        listed("E90000", KERNEL_HINT),
        listed("E90001", _CHECK_HINT),
        listed("E90002", _CHECK_HINT),
        listed("E90003", _CHECK_HINT),
        listed("EB0000", KERNEL_HINT),
        listed("EZ3002", UNSUPPORTED_HINT),
        listed("EZ3003", UNSUPPORTED_HINT),
        listed("EZ9010", EXPORT_HINT),
        listed("EZ9999", INNER_HINT),
        (
            "W11001",
            Advice(_SLOW_HINT, f"{GE_PAGES}/W11001-Performance_Not_Optimal_Operator.md"),
        ),
        (
            "W11002",
            Advice(
                "Correct the names in the file of `compress_weight_conf`",
                f"{GE_PAGES}/W11002-Config_Error_Weight_Configuration.md",
            ),
        ),
        (
            "W11003",
            Advice(
                "Complete the custom operator's package",
                f"{GE_PAGES}/W11003-Config_Error_Operator_Missing_Implementation.md",
            ),
        ),
        runtime("W40010", _COMPILER, "Config_Error_Invalid_Environment_Variable", _CACHE_HINT),
        runtime("W40011", _COMPILER, "Directory_Operation_Error_Create_Failed", _CACHE_HINT),
        runtime("W40012", _COMPILER, "Invalid_Argument", _CACHE_HINT),
    ]
)
"""Advice by code."""
