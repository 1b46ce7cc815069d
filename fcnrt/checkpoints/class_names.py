"""Names of the classes of the authors' other data sets: ``data/*/classes*.txt`` of shelhamer/fcn.berkeleyvision.org."""

from __future__ import annotations

from fcnrt.palettes import VOC_CLASSES


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


NYUD: tuple[str, ...] = _names(
    "wall,floor,cabinet,bed,chair,sofa,table,door,window,bookshelf,picture,counter,blinds,desk,shelves,curtain,dresser,"
    "pillow,mirror,floor mat,clothes,ceiling,books,refridgerator,television,paper,towel,shower curtain,box,whiteboard,"
    "person,night stand,toilet,sink,lamp,bathtub,bag,otherstructure,otherfurniture,otherprop"
)

SIFT_FLOW: tuple[str, ...] = _names(
    "awning,balcony,bird,boat,bridge,building,bus,car,cow,crosswalk,desert,door,fence,field,grass,moon,mountain,person,"
    "plant,pole,river,road,rock,sand,sea,sidewalk,sign,sky,staircase,streetlight,sun,tree,window"
)

SIFT_FLOW_GEOMETRY: tuple[str, ...] = ("sky", "horizontal", "vertical")

PASCAL_CONTEXT: tuple[str, ...] = (
    *VOC_CLASSES,
    *_names(
        "bag,bed,bench,book,building,cabinet,ceiling,clothes,computer,cup,door,fence,floor,flower,food,grass,ground,"
        "keyboard,light,mountain,mouse,curtain,platform,sign,plate,road,rock,shelves,sidewalk,sky,snow,bedcloth,track,"
        "tree,truck,wall,water,window,wood"
    ),
)
