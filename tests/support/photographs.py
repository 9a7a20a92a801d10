"""Photographs for the tests of single images:
crops of the astronaut that scikit-image carries, of one window or two."""

import numpy as np
from PIL import Image
from places import ROOT

import run_single_img
from loaders import demo

HERE = ROOT


def astronaut(width=224, height=224):
    """PIL RGB, the face in the middle."""
    pixels = demo.photograph("astronaut.png", 96, 0).astype(np.uint8)
    return Image.fromarray(pixels).crop((24, 16, 24 + width, 16 + height))


def saved(folder, name, image):
    image.save(folder / name)
    return str(folder / name)


def printed(capsys, *argv):
    """stdout of run_single_img.py, run in this process."""
    capsys.readouterr()
    run_single_img.main([str(a) for a in argv])
    return capsys.readouterr().out
