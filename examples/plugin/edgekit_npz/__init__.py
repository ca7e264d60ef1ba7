"""An example of a plug-in: the format npz, the metric r_squared, the technique clip_weights, the device npz-board."""
