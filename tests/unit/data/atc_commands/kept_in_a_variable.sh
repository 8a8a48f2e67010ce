net=https://example.org/models/tram.pb
build_1="atc --model=work/${net##*/} --framework=3 --input_shape="images:1,32,32,3" --input_format=NHWC --output=${HOME}/tram --soc_version=Ascend310
"
${build_1}
