"""`acl.blas`: matrix products as single operators, which the emulated card does not do (facts/pyacl.md §14.4)."""

from __future__ import annotations

from acl import _absent

_ABSENT = _absent.functions(
    __name__,
    """
    gemv_ex iiikkiikiikkiiik r
    create_handle_for_gemv_ex iiiiiii vr
    hgemv iiikkikikkiik r
    create_handle_for_hgemv iiii vr
    s8gemv iiikkikikkiik r
    create_handle_for_s8gemv iiii vr
    gemm_ex iiiiiikkiikiikkiiik r
    create_handle_for_gemm_ex iiiiiiiiii vr
    hgemm iiiiiikkikikkiik r
    create_handle_for_hgemm iiiiiii vr
    s8gemm iiiiiikkikikkiik r
    create_handle_for_s8gemm iiiiiii vr
    """,
)
globals().update(_ABSENT)

__all__ = [*_ABSENT]
