"""The bundle: every file and image that nodes get, made from pinned sources, by digest."""

from kubesmith.bundle.builder import build, current
from kubesmith.bundle.model import Bundle, Component, File, Image, load
from kubesmith.bundle.verify import image_gaps, verify

__all__ = ["Bundle", "Component", "File", "Image", "build", "current", "image_gaps", "load", "verify"]
