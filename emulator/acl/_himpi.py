"""`acl.himpi`: the second media interface. Its memory is real; the picture and video engines are not emulated.

Arguments that pyACL reads into a C structure are dicts here as there (facts/pyacl.md §14.4).
"""

from __future__ import annotations

from ascend_emulator.client import media
from ascend_emulator.client.calling import function, ret, value_ret

from acl import _absent

_ABSENT = _absent.functions(
    __name__,
    """
    sys_init - r
    sys_exit - r
    sys_create_epoll i vr
    sys_ctl_epoll iiiD r
    sys_wait_epoll iii Lvr
    sys_close_epoll i r
    sys_set_chn_csc_matrix iiiD r
    sys_get_chn_csc_matrix ii vDr
    sys_get_image_align_info liD Dr
    dvpp_get_version - vvvr
    dvpp_get_image_info iD Dr
    pngd_create_chn iD r
    pngd_destroy_chn i r
    pngd_send_stream iDDi r
    pngd_get_image_data ii DDr
    png_get_image_info D Dr
    vpc_create_chn iD r
    vpc_sys_create_chn D vr
    vpc_destroy_chn i r
    vpc_set_chn_workspace ilI r
    vpc_set_chn_opt_attr iD r
    vpc_get_process_result iIi r
    vpc_resize iDDddIi vr
    vpc_crop iDlIi vr
    vpc_crop_resize iDlIi vr
    vpc_crop_resize_paste iDlIi vr
    vpc_crop_resize_make_border iDlIi vr
    vpc_crop_resize_resize_paste iDlii vr
    vpc_batch_crop_resize_paste ilIlli vr
    vpc_batch_crop_resize_make_border ilIlli vr
    vpc_convert_color iDDi vr
    vpc_convert_color_v2 iDDDi vr
    vpc_convert_color_to_yuv420 iDDi vr
    vpc_copy_make_border iDDDi vr
    vpc_pyrdown iDlIOHDi vr
    vpc_calc_hist iDi Dvr
    vpc_calc_hist_v2 iDik vr
    vpc_equalize_hist iDDDi vr
    vpc_dilate iDi vr
    vpc_erode iDi vr
    vpc_blur iDi vr
    vpc_gaussian_blur iDi vr
    vpc_median_blur iDi vr
    vpc_filter2d iDi vr
    vpc_draw_cover iDi vr
    vpc_draw_line iDi vr
    vpc_draw_mosaic iDi vr
    vpc_draw_osd iDi vr
    vpc_flip iDi vr
    vpc_rotate iDi vr
    vpc_warp_affine iDDi vr
    vpc_lut_remap iDDi vr
    vpc_get_lut_mem_size II vr
    vpc_get_affine_lut DID Dr
    vpc_get_perspective_lut DID Dr
    vpc_get_remap_lut DD Dr
    vpc_get_affine_transform D Dr
    vpc_get_rotation_matrix Ddd Dr
    vdec_create_chn iD r
    vdec_destroy_chn i r
    vdec_reset_chn i r
    vdec_get_chn_attr i Dr
    vdec_set_chn_attr iD r
    vdec_get_chn_param i Dr
    vdec_set_chn_param iD r
    vdec_get_protocol_param i Dr
    vdec_set_protocol_param iD r
    vdec_get_display_mode i vr
    vdec_set_display_mode iI r
    vdec_set_jpegd_precision_mode iI r
    vdec_get_jpegd_output_info Di Dr
    vdec_start_recv_stream i r
    vdec_stop_recv_stream i r
    vdec_query_status i Dr
    vdec_send_stream iDDi r
    vdec_get_frame ii DDDr
    vdec_release_frame iD r
    vdec_get_fd i r
    vdec_close_fd i r
    vdec_get_pic_buf_size iD v
    vdec_get_tmv_buf_size iII v
    venc_create_chn iD r
    venc_destroy_chn i r
    venc_start_chn iD r
    venc_stop_chn i r
    venc_get_chn_attr i Dr
    venc_set_chn_attr iD r
    venc_get_chn_param i Dr
    venc_set_chn_param iD r
    venc_get_mod_param D Dr
    venc_set_mod_param D r
    venc_get_rc_param ii Dr
    venc_set_rc_param iD r
    venc_get_ref_param i Dr
    venc_set_ref_param iD r
    venc_get_jpeg_param i Dr
    venc_set_jpeg_param iD r
    venc_get_jpeg_huffman_param i Dr
    venc_set_jpeg_huffman_param iD r
    venc_compact_jpeg_tables iIi r
    venc_get_scene_mode i vr
    venc_set_scene_mode ii r
    venc_get_cu_pred i Dr
    venc_set_cu_pred iD r
    venc_get_h264_vui i Dr
    venc_set_h264_vui iD r
    venc_get_h265_vui i Dr
    venc_set_h265_vui iD r
    venc_get_intra_refresh i Dr
    venc_set_intra_refresh iD r
    venc_get_roi_attr iI Dr
    venc_set_roi_attr iD r
    venc_get_slice_split i Dr
    venc_set_slice_split iD r
    venc_get_streamcopy_param i Dr
    venc_set_streamcopy_param iD r
    venc_request_idr ii r
    venc_query_status i Dr
    venc_send_frame iDi r
    venc_send_frame_ex iDi r
    venc_send_jpege_frame iDDI r
    venc_get_stream iDi Dr
    venc_release_stream iD r
    venc_get_fd i r
    venc_close_fd i r
    venc_get_jpege_predicted_size DD vr
    venc_get_qpmap_stride I v
    venc_get_qpmap_size iII v
    """,
)
globals().update(_ABSENT)

__all__ = ["dvpp_free", "dvpp_malloc", *_ABSENT]


@function("ik", value_ret)
def dvpp_malloc(device: int, size: int) -> tuple[int, int]:
    """`(address, ret)`: as `acl.media.dvpp_malloc`; the device is reserved and the current context's is used."""
    return media.malloc(size), 0


@function("k", ret)
def dvpp_free(address: int) -> int:
    """Free what `dvpp_malloc` gave."""
    media.free(address)
    return 0
