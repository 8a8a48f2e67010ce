"""`acl.media`: the first media interface (DVPP). Its memory is real; the picture and video engines are not emulated.

Programs that decode and resize on the host use the memory alone (facts/pyacl.md §14.3).
"""

from __future__ import annotations

from typing import Any

from ascend_emulator.client import media
from ascend_emulator.client.calling import function, ret, value_ret

from acl import _absent

_ABSENT = _absent.functions(
    __name__,
    """
    dvpp_create_channel k r
    dvpp_destroy_channel k r
    dvpp_create_channel_desc - v
    dvpp_destroy_channel_desc k r
    dvpp_get_channel_desc_channel_id k v
    dvpp_set_channel_desc_mode kI r
    dvpp_get_channel_desc_param ki vvr
    dvpp_set_channel_desc_param kik vr
    dvpp_create_pic_desc - v
    dvpp_destroy_pic_desc k r
    dvpp_set_pic_desc_data kk r
    dvpp_set_pic_desc_size kI r
    dvpp_set_pic_desc_format ki r
    dvpp_set_pic_desc_width kI r
    dvpp_set_pic_desc_height kI r
    dvpp_set_pic_desc_width_stride kI r
    dvpp_set_pic_desc_height_stride kI r
    dvpp_set_pic_desc_ret_code kI r
    dvpp_get_pic_desc_data k v
    dvpp_get_pic_desc_size k v
    dvpp_get_pic_desc_format k v
    dvpp_get_pic_desc_width k v
    dvpp_get_pic_desc_height k v
    dvpp_get_pic_desc_width_stride k v
    dvpp_get_pic_desc_height_stride k v
    dvpp_get_pic_desc_ret_code k v
    dvpp_create_batch_pic_desc I v
    dvpp_destroy_batch_pic_desc k r
    dvpp_get_pic_desc kI v
    dvpp_create_stream_desc - v
    dvpp_destroy_stream_desc k r
    dvpp_set_stream_desc_data kk r
    dvpp_set_stream_desc_size kI r
    dvpp_set_stream_desc_format ki r
    dvpp_set_stream_desc_timestamp kK r
    dvpp_set_stream_desc_ret_code kI r
    dvpp_set_stream_desc_eos kB r
    dvpp_get_stream_desc_data k v
    dvpp_get_stream_desc_size k v
    dvpp_get_stream_desc_format k v
    dvpp_get_stream_desc_timestamp k v
    dvpp_get_stream_desc_ret_code k v
    dvpp_get_stream_desc_eos k v
    dvpp_create_roi_config IIII v
    dvpp_destroy_roi_config k r
    dvpp_set_roi_config kIIII r
    dvpp_set_roi_config_left kI r
    dvpp_set_roi_config_right kI r
    dvpp_set_roi_config_top kI r
    dvpp_set_roi_config_bottom kI r
    dvpp_create_resize_config - v
    dvpp_destroy_resize_config k r
    dvpp_get_resize_config_interpolation k v
    dvpp_set_resize_config_interpolation kI r
    dvpp_create_border_config - v
    dvpp_destroy_border_config k r
    dvpp_get_border_config_value kI f
    dvpp_get_border_config_border_type k v
    dvpp_get_border_config_top k v
    dvpp_get_border_config_bottom k v
    dvpp_get_border_config_left k v
    dvpp_get_border_config_right k v
    dvpp_set_border_config_value kId r
    dvpp_set_border_config_border_type ki r
    dvpp_set_border_config_top kI r
    dvpp_set_border_config_bottom kI r
    dvpp_set_border_config_left kI r
    dvpp_set_border_config_right kI r
    dvpp_create_hist - v
    dvpp_destroy_hist k r
    dvpp_get_hist_dims k v
    dvpp_get_hist_data kI vvr
    dvpp_get_hist_ret_code k v
    dvpp_clear_hist k r
    dvpp_create_lut_map - v
    dvpp_destroy_lut_map k r
    dvpp_get_lut_map_dims k v
    dvpp_get_lut_map_data kI vvr
    dvpp_vpc_resize_async kkkkk r
    dvpp_vpc_crop_async kkkkk r
    dvpp_vpc_crop_and_paste_async kkkkkk r
    dvpp_vpc_crop_resize_async kkkkkk r
    dvpp_vpc_crop_resize_paste_async kkkkkkk r
    dvpp_vpc_batch_crop_async kklklk vr
    dvpp_vpc_batch_crop_and_paste_async kklkllk vr
    dvpp_vpc_batch_crop_resize_async kklklkk r
    dvpp_vpc_batch_crop_resize_paste_async kklkllkk r
    dvpp_vpc_batch_crop_resize_make_border_async kklkllkk r
    dvpp_vpc_convert_color_async kkkk r
    dvpp_vpc_pyr_down_async kkkkk r
    dvpp_vpc_equalize_hist_async kkkkk r
    dvpp_vpc_make_border_async kkkkk r
    dvpp_vpc_calc_hist_async kkkkk r
    dvpp_png_decode_async kkIkk r
    dvpp_png_get_image_info kI vvvr
    dvpp_png_predict_dec_size kIi vr
    dvpp_jpeg_decode_async kkIkk r
    dvpp_jpeg_get_image_info kI vvvr
    dvpp_jpeg_get_image_info_v2 kI vvvvr
    dvpp_jpeg_predict_dec_size kIi vr
    dvpp_jpeg_encode_async kkkkkk r
    dvpp_jpeg_predict_enc_size kk vr
    dvpp_create_jpege_config - v
    dvpp_destroy_jpege_config k r
    dvpp_get_jpege_config_level k v
    dvpp_set_jpege_config_level kI r
    vdec_create_channel k r
    vdec_destroy_channel k r
    vdec_create_channel_desc - v
    vdec_destroy_channel_desc k r
    vdec_set_channel_desc_channel_id kI r
    vdec_set_channel_desc_thread_id kK r
    vdec_set_channel_desc_callback kO r
    vdec_set_channel_desc_entype ki r
    vdec_set_channel_desc_out_pic_format ki r
    vdec_set_channel_desc_out_pic_width kI r
    vdec_set_channel_desc_out_pic_height kI r
    vdec_set_channel_desc_ref_frame_num kI r
    vdec_set_channel_desc_out_mode kI r
    vdec_set_channel_desc_bit_depth kI r
    vdec_set_channel_desc_param kik vr
    vdec_get_channel_desc_channel_id k v
    vdec_get_channel_desc_thread_id k v
    vdec_get_channel_desc_callback k n
    vdec_get_channel_desc_entype k v
    vdec_get_channel_desc_out_pic_format k v
    vdec_get_channel_desc_out_pic_width k v
    vdec_get_channel_desc_out_pic_height k v
    vdec_get_channel_desc_ref_frame_num k v
    vdec_get_channel_desc_out_mode k v
    vdec_get_channel_desc_bit_depth k v
    vdec_get_channel_desc_param ki vvr
    vdec_create_frame_config - v
    vdec_destroy_frame_config k r
    vdec_send_frame kkkkO r
    vdec_send_skipped_frame kkkO r
    venc_create_channel k r
    venc_destroy_channel k r
    venc_create_channel_desc - v
    venc_destroy_channel_desc k r
    venc_set_channel_desc_thread_id kK r
    venc_set_channel_desc_callback kO r
    venc_set_channel_desc_entype ki r
    venc_set_channel_desc_pic_format ki r
    venc_set_channel_desc_pic_width kI r
    venc_set_channel_desc_pic_height kI r
    venc_set_channel_desc_key_frame_interval kI r
    venc_set_channel_desc_buf_addr kk r
    venc_set_channel_desc_buf_size kI r
    venc_set_channel_desc_max_bit_rate kI r
    venc_set_channel_desc_rc_mode kI r
    venc_set_channel_desc_src_rate kI r
    venc_set_channel_desc_param kiO r
    venc_get_channel_desc_channel_id k v
    venc_get_channel_desc_thread_id k v
    venc_get_channel_desc_callback k n
    venc_get_channel_desc_entype k v
    venc_get_channel_desc_pic_format k v
    venc_get_channel_desc_pic_width k v
    venc_get_channel_desc_pic_height k v
    venc_get_channel_desc_key_frame_interval k v
    venc_get_channel_desc_buf_addr k v
    venc_get_channel_desc_buf_size k v
    venc_get_channel_desc_max_bit_rate k v
    venc_get_channel_desc_rc_mode k v
    venc_get_channel_desc_src_rate k v
    venc_get_channel_desc_param ki vr
    venc_create_frame_config - v
    venc_destroy_frame_config k r
    venc_set_frame_config_force_i_frame kB r
    venc_set_frame_config_eos kB r
    venc_get_frame_config_force_i_frame k v
    venc_get_frame_config_eos k v
    venc_send_frame kkkkO r
    """,
)
globals().update(_ABSENT)

__all__ = ["dvpp_free", "dvpp_malloc", "dvpp_malloc_with_cfg", *_ABSENT]


@function("k", value_ret)
def dvpp_malloc(size: int) -> tuple[int, int]:
    """`(address, ret)` of device memory whose address is a multiple of 128."""
    return media.malloc(size), 0


@function("kiD", value_ret)
def dvpp_malloc_with_cfg(size: int, policy: int, config: dict[str, Any]) -> tuple[int, int]:
    """As `dvpp_malloc`; policy and configuration name pages and modules that an emulated card does not tell apart."""
    return media.malloc(size), 0


@function("k", ret)
def dvpp_free(address: int) -> int:
    """Free what `dvpp_malloc` gave."""
    media.free(address)
    return 0
