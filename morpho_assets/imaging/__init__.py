"""Reading images, correcting illumination, judging quality, finding cells.

images.py         one file -> one (H, W) float32 plane; label images
illumination.py   a plate's flat field, estimated in a stream and applied by division
quality.py        CellProfiler's ImageQuality per channel, flags, stain drift between plates
cell_quality.py   implausible single cells
segmentation/     nuclei and cells, linked one to one
augmentation.py   test-time augmentation of any segmenter
"""
