"""ColonINST's taxonomy: the parent of each class, in the spelling of the answers in the JSON.

Source: the tables of positive categories in the data guideline of ai4colonoscopy/IntelliScope.  REG writes
"adenomatous" and "instrument" where CLS writes "adenoma" and "accessory tool".
"""

from __future__ import annotations

_CHILDREN = {
    "polyp related": "polyp, adenoma, adenomatous, hyperplastic lesion, high grade adenoma, high grade dysplasia, "
    "low grade adenoma, serrated lesion",
    "cancer related": "adenocarcinoma, colorectal cancer, invasive carcinoma, suspicious precancerous lesion",
    "ulcer related": "erosion, ulcer, ulcerative colitis, UCG0-1, UCG1-2, UCG2-3, UCG1, UCG2, UCG3",
    "inflammation": "inflammatory bowel disease",
    "bleed": "blood fresh, blood hematin, blood in lumen",
    "blood vessel": "angiectasia",
    "others": "colon diverticula, erythema, hemorrhoid, lymphangiectasia",
    "cecum related": "cecum, ileocecal valve",
    "preoperative": "BBPS0, BBPS1, BBPS2, BBPS3, BBPS0-1, BBPS2-3",
    "intraoperative": "accessory tool, instrument, dyed lifted polyp, retroflex rectum",
    "postoperative": "dyed resection margin, resection margin, resected polyp",
}
_PARENTS = {child.lower(): parent for parent, children in _CHILDREN.items() for child in children.split(", ")}


def parent_of(category: str) -> str | None:
    """The parent class of a category; None for a category that is not in the taxonomy.

    >>> parent_of("UCG2-3"), parent_of("instrument"), parent_of("heart")
    ('ulcer related', 'intraoperative', None)
    """
    return _PARENTS.get(category.lower())
