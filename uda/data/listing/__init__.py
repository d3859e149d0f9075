"""What lies in a pair of folders: images, the label of each, and what does not fit together."""

from __future__ import annotations

from uda.data.listing.images import (
    add_no_image,
    add_other_endings,
    add_same_names,
    chosen_images,
    image_stems,
)
from uda.data.listing.labels import add_labels
from uda.data.listing.parts import FolderSettings, Listing, Misfit, add_broken, tree_of

__all__ = ["FolderSettings", "Listing", "Misfit", "list_folders"]


def list_folders(settings: FolderSettings) -> Listing:
    """Images and labels of two folders, with everything that does not fit in them.

    Args:
        settings: Which folders, and what to take of them.
    """
    listing = Listing()
    tree = tree_of(settings.image_dir, "image", listing)
    if tree is None:
        return listing
    stems = image_stems(tree.names, settings)
    chosen = chosen_images(stems, settings, listing)
    if not chosen:
        if not listing.misfits:
            add_no_image(tree.names, settings, listing)
        return listing
    listing.images = sorted(chosen)
    add_broken(listing.images, tree, settings.image_dir, "images", listing)
    if settings.label_dir is None:
        listing.labels = [None] * len(listing.images)
        add_same_names(chosen, settings, listing)
    else:
        add_labels(chosen, stems, settings, listing)
    add_other_endings(tree.names, stems, settings, listing)
    return listing
