#!/bin/bash
# Builds the gate model for one chip and a batch size.
chip=$1
bs=4
stem="gate_${bs}"
weights=models/gate.caffemodel

function build() {
    export out_dir=build
    nohup /opt/cann/atc/bin/atc --framework=0 \
        --model=models/gate.prototxt --weight=${weights} \
        --output=$out_dir/$stem"_"${weights##*/} \
        --input_shape="frame:${bs},3,64,64;scale:${bs},2" \
        --soc_version=Ascend${chip} --log=${level:-error} > build.log 2>&1 &
}

for size in 1 2 3; do
    sizes=$sizes$size,
    atc --model=gate.onnx --framework=5 --output=gate_$size --soc_version=Ascend310P3 --input_shape="frame:$size,3,64,64"
done
if [ -n "$sizes" ]; then atc --model=gate.onnx --framework=5 --output=gate --soc_version=Ascend310P3 --input_shape="frame:-1,3,64,64" --dynamic_batch_size=$sizes; fi
