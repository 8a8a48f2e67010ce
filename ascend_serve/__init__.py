"""The Huawei Ascend NPU backend for Ray Serve. Importing it loads neither acl nor ray."""

__version__ = "0.1.0"
