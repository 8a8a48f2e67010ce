"""`acl.fv`: feature retrieval, which only old cards have and the emulated one does not do (facts/pyacl.md §14.4)."""

from __future__ import annotations

from acl import _absent

# `destory_init_para` is the binding's own slip; it exists beside the right spelling.
_ABSENT = _absent.functions(
    __name__,
    """
    create_init_para K v
    destory_init_para k r
    destroy_init_para k r
    set_1n_top_num kI r
    set_nm_top_num kI r
    init k r
    release - r
    repo_add Ik r
    repo_del Ik r
    create_feature_info IIIIIkI v
    destroy_feature_info k r
    create_repo_range IIII v
    destroy_repo_range k r
    delete k r
    modify k r
    create_query_table IIkI v
    destroy_query_table k r
    create_search_input kkI v
    destroy_search_input k r
    create_search_result IkIkkkkI v
    destroy_search_result k r
    search Ikk r
    """,
)
globals().update(_ABSENT)

__all__ = [*_ABSENT]
