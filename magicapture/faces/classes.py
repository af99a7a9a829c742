"""The classes of a face parsing map, in the order of the public BiSeNet weights."""

#: Index in this tuple = value in the map. Left and right are the picture's, not the person's.
PARSING_CLASSES = (
    "background",
    "skin",
    "left brow",
    "right brow",
    "left eye",
    "right eye",
    "glasses",
    "left ear",
    "right ear",
    "earring",
    "nose",
    "mouth",
    "upper lip",
    "lower lip",
    "neck",
    "necklace",
    "cloth",
    "hair",
    "hat",
)

#: What counts as the face: skin, brows, eyes, ears, nose, mouth and lips, but no glasses, hair, neck or cloth.
FACE_CLASSES = (1, 2, 3, 4, 5, 7, 8, 10, 11, 12, 13)

#: What counts as the head: the face with glasses, earrings and hair.
HEAD_CLASSES = (*FACE_CLASSES, 6, 9, 17)
