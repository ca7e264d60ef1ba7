"""Annotated pictures as others write them: COCO JSON, YOLO text files, VOC XML, folders of masks."""
