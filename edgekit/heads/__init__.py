"""Decoders: how the outputs of a detector's, segmenter's or pose net's head become boxes, masks and keypoints."""
